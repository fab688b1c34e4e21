"""How fast `python -m retdm.predict` is beside what decoding and the network alone allow.

    python tests/bench/bench_predict.py [FOLDER ...] [--backbones B ...] [--images N] [--rounds R]

Takes photos of each FOLDER, in the page cache, and times in turns: reading and decoding them by a
thread for each core; the network on decoded batches; and both with a JSON line written for each
photo, as the program does once the model is loaded. The limit is that of whoever is slower where
they run on different processors (a GPU), and of both one after the other where they share the
cores, as here without one. Weights are random; 80 labels.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from machine import one_line
from photos import add_arguments, folders, gather

from retdm.config import Config, apply_overrides, parse
from retdm.methods import build_method
from retdm.predict.images import ImageFile, find_images
from retdm.predict.outputs import Outputs, targets
from retdm.predict.rows import rows_of
from retdm.predict.scored import of_files
from retdm.predictor import Predictor
from retdm.predictor.ahead import decode_ahead
from retdm.predictor.model import Origin

_BATCH, _LABELS = 32, tuple(f"label {number}" for number in range(80))


def main() -> int:
    """Gather photos, time, print."""
    parser = argparse.ArgumentParser(description="Time predicting beside its limits.")
    add_arguments(parser)
    parser.add_argument(
        "--backbones", nargs="+", default=["timm:test_resnet", "timm:tf_efficientnet_lite0"]
    )
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"{one_line()}; torch with {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as scratch:
        for name, photos in folders(args.folders, Path(scratch)).items():
            about = gather(photos, Path(scratch, "made", name), args.images)
            print(f"\n{name}: {about}")
            files = find_images([str(Path(scratch, "made", name, "photos"))])
            for backbone in args.backbones:
                _compare(_model(backbone), files, Path(scratch, "out"), args.rounds)
    return 0


def _model(backbone: str) -> Predictor:
    settings = [f"model.backbone={backbone}", "model.weights=none", "method=bce"]
    config = parse(Config, apply_overrides({}, settings), source="bench")
    method = build_method(config, labels=len(_LABELS), load_weights=False).eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Predictor(config, method.to(device), _LABELS, None, Origin("bench", "", "", ""))


def _compare(model: Predictor, files: list[ImageFile], out: Path, rounds: int) -> None:
    pixels = torch.randint(0, 256, (_BATCH, 3, *[model.decoder.size] * 2), dtype=torch.uint8)

    def decode() -> None:
        for _ in decode_ahead(
            files, ImageFile.read, model.decoder, batch_size=_BATCH, threads=model.threads
        ):
            pass

    def compute() -> None:
        for begin in range(0, len(files), _BATCH):
            model.score(pixels[: len(files) - begin])

    def predict() -> None:
        batches = of_files(model, files, batch_size=_BATCH, workers=None)
        rows = rows_of(batches, model.labels, model.thresholds(), top=None, skip_bad=False)
        with Outputs(targets({"json": str(out)}), model.labels) as outputs:
            for row in rows:
                outputs.write(row)

    ways: dict[str, Callable[[], None]] = {"decode": decode, "compute": compute, "both": predict}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    limits: list[float] = []
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            taken[name].append((time.perf_counter() - begun) / len(files))
        decoding, computing = taken["decode"][-1], taken["compute"][-1]
        shared = model.device.type == "cpu"
        least = decoding + computing if shared else max(decoding, computing)
        limits.append(least / taken["both"][-1])
    rate = {name: 1 / median(times) for name, times in taken.items()}
    print(
        f"  {model.config.model.backbone:28} decoding {rate['decode']:7.1f}/s, network "
        f"{rate['compute']:7.1f}/s, predicting {rate['both']:7.1f}/s: {median(limits):.2f} of the "
        f"limit ({model.threads} cores, {model.device.type})",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
