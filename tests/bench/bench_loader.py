"""How fast the loader yields training images, beside Pillow alone and stock WebDataset.

    python tests/bench/bench_loader.py [--spec shards/scene.toml --source DIR] [--rounds R]

Packs photos into a temporary shard set (rendered scenes unless --source names others) and times,
in turn and in one process each: decoding the JPEGs with Pillow; stock WebDataset reading the same
tars with the usual resize, random crop and mirroring; and our loader. CPU seconds, so that
other work on the machine matters less; the best of R rounds.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import webdataset as wds
from PIL import Image
from torchvision.transforms import v2

from retdm.config import DataSettings
from retdm.data.loader import TrainingLoader
from retdm.data.split import open_split
from retdm.shard.build import build
from retdm.shard.spec import load_spec

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Pack, time, print."""
    parser = argparse.ArgumentParser(description="Time the loader beside Pillow and WebDataset.")
    parser.add_argument("--spec", default=str(ROOT / "shards/synthetic.toml"))
    parser.add_argument("--source", type=Path, help="folder of the photos; default: rendered ones")
    parser.add_argument("--size", type=int, default=224, help="side of the crops in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = _pack(args.spec, args.source, Path(folder))
        contents = _contents(url)
        ways: dict[str, Callable[[], int]] = {
            "Pillow, decode only": lambda: _pillow(contents),
            "stock WebDataset": lambda: _webdataset(url, args.size),
            "retdm": lambda: _retdm(url, args.size),
        }
        best = {name: _best(way, args.rounds, len(contents)) for name, way in ways.items()}
    print(f"{len(contents)} photos to {args.size} px, best of {args.rounds}")
    for name, seconds in best.items():
        per_image = 1000 * seconds / len(contents)
        speed = best["stock WebDataset"] / seconds
        print(f"  {name:22}{per_image:8.2f} ms/image{speed:8.2f} times the speed of WebDataset")
    return 0


def _pack(spec: str, source: Path | None, folder: Path) -> str:
    overrides = [] if source else ["options.images=500", "options.size=320"]
    if source is None:
        source = folder / "photos"
        source.mkdir()
    parsed, options = load_spec(spec, overrides)
    build(parsed, options, source=source, out=str(folder / "shards"))
    return str(folder / "shards")


def _tars(url: str) -> list[str]:
    return sorted(str(path) for path in Path(url).glob("train/*.tar"))


def _contents(url: str) -> list[bytes]:
    """The stored bytes of every training photo."""
    samples = wds.WebDataset(_tars(url), shardshuffle=False)
    return [sample.get("jpg") or sample["png"] for sample in samples]


def _best(way: Callable[[], int], rounds: int, expected: int) -> float:
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        assert way() == expected
        seconds.append(time.process_time() - started)
    return min(seconds)


def _pillow(contents: list[bytes]) -> int:
    for content in contents:
        Image.open(io.BytesIO(content)).convert("RGB")
    return len(contents)


def _webdataset(url: str, size: int) -> int:
    transform = v2.Compose(
        [
            v2.Resize((size * 8 // 7, size * 8 // 7)),
            v2.RandomCrop(size),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
        ]
    )
    dataset = wds.WebDataset(_tars(url), shardshuffle=False).shuffle(1000).decode("pilrgb")
    return sum(1 for _ in dataset.to_tuple("jpg;png").map_tuple(transform))


def _retdm(url: str, size: int) -> int:
    settings = DataSettings(url=url, batch_size=64, image_size=size, loader_workers=0)
    loader = TrainingLoader(open_split(url, "train"), settings, seed=0, rank=0, world_size=1)
    images = sum(batch.global_size for batch in loader.epoch(0))
    loader.close()
    return images


if __name__ == "__main__":
    sys.exit(main())
