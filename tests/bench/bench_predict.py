"""How fast `python -m retdm.predict` is beside what decoding and the network alone allow.

    python tests/bench/bench_predict.py [FOLDER ...] [--nets BACKBONE@SIZE ...] [--images N]

Takes photos of each FOLDER, in the page cache, and times in turns: reading and decoding them by a
thread for each core; the network on decoded batches; and both with a JSON line written for each
photo, as the program does once the model is loaded. The limit is that of whoever is slower where
they run on different processors (a GPU), and of both one after the other where they share the
cores, as here without one. Weights are random; 80 labels.
"""

import argparse
import os
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

_AS_PROGRAM = {"OMP_WAIT_POLICY": "PASSIVE"}
_BATCH, _LABELS = 32, tuple(f"label {number}" for number in range(80))


def main() -> int:
    """Gather photos, time, print."""
    parser = argparse.ArgumentParser(description="Time predicting beside its limits.")
    add_arguments(parser)
    add_nets(parser)
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"{one_line()}; torch with {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as scratch:
        for name, photos in folders(args.folders, Path(scratch)).items():
            about = gather(photos, Path(scratch, "made", name), args.images)
            print(f"\n{name}: {about}")
            files = find_images([str(Path(scratch, "made", name, "photos"))])
            for net in args.nets:
                _compare(make_model(net), files, Path(scratch, "out"), args.rounds)
    return 0


def add_nets(parser: argparse.ArgumentParser) -> None:
    """Let a program be told which networks to time, and with images of which size."""
    parser.add_argument(
        "--nets",
        nargs="+",
        default=["timm:test_efficientnet@32", "timm:tf_efficientnet_lite0@224"],
        metavar="BACKBONE@SIZE",
        help="of images; default: one that waits for all else and one that computes",
    )


def make_model(net: str) -> Predictor:
    """A network of random weights for 80 labels; `net` is BACKBONE@SIZE."""
    backbone, _, size = net.partition("@")
    settings = [f"model.backbone={backbone}", "model.weights=none", "method=bce"]
    settings += [f"data.image_size={size or 224}"]
    config = parse(Config, apply_overrides({}, settings), source="bench")
    method = build_method(config, labels=len(_LABELS), load_weights=False).eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Predictor(config, method.to(device), _LABELS, None, Origin("bench", "", "", ""))


def limit_ways(model: Predictor, files: list[ImageFile]) -> dict[str, Callable[[], None]]:
    """Decoding alone, and the network alone."""
    pixels = torch.randint(0, 256, (_BATCH, 3, *[model.decoder.size] * 2), dtype=torch.uint8)

    def decode() -> None:
        for _ in decode_ahead(
            files, ImageFile.read, model.decoder, batch_size=_BATCH, threads=model.threads
        ):
            pass

    def compute() -> None:
        for begin in range(0, len(files), _BATCH):
            model.score(pixels[: len(files) - begin])

    return {"decode": decode, "compute": compute}


def _compare(model: Predictor, files: list[ImageFile], out: Path, rounds: int) -> None:
    def predict() -> None:
        batches = of_files(model, files, batch_size=_BATCH, workers=None)
        rows = rows_of(batches, model.labels, model.thresholds(), top=None, skip_bad=False)
        with Outputs(targets({"json": str(out)}), model.labels) as outputs:
            for row in rows:
                outputs.write(row)

    ways = {**limit_ways(model, files), "both": predict}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            begun, spent = time.perf_counter(), time.process_time()
            way()
            wall[name].append((time.perf_counter() - begun) / len(files))
            cpu[name].append((time.process_time() - spent) / len(files))
    rate = {name: 1 / median(times) for name, times in wall.items()}
    shared = model.device.type == "cpu"
    name = f"{model.config.model.backbone} at {model.decoder.size}"
    print(
        f"  {name}: decoding {rate['decode']:7.1f}/s, network "
        f"{rate['compute']:7.1f}/s, predicting {rate['both']:7.1f}/s: "
        f"{_share(wall, shared=shared):.2f} of the limit, by CPU time "
        f"{_share(cpu, shared=True):.2f} ({model.threads} cores, {model.device.type})",
        flush=True,
    )


def _share(taken: dict[str, list[float]], *, shared: bool) -> float:
    """Median over rounds of the least time that is possible over that of predicting."""
    least = sum if shared else max
    return median(
        least((decode, compute)) / both
        for decode, compute, both in zip(
            taken["decode"], taken["compute"], taken["both"], strict=True
        )
    )


if __name__ == "__main__":
    if "OMP_WAIT_POLICY" not in os.environ:  # as the program does, before torch is imported
        os.execvpe(sys.executable, [sys.executable, *sys.argv], {**os.environ, **_AS_PROGRAM})
    sys.exit(main())
