"""The photos of the benchmarks: folders of RGB JPEGs, and shard sets of them."""

import argparse
import itertools
import os
from pathlib import Path

from PIL import Image

from retdm.datasets.synthetic.generate import IMAGES, generate
from retdm.shard.build import build
from retdm.shard.spec import load_spec

_SETS = ("coco128", "coco3k")
_SPEC = """
name = "bench"
reader = "table"
[split]
test = 0
val = 0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folders to take photos from."""
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="of JPEGs; default: the images of coco128 and coco3k below RETDM_TEST_DATA, rendered "
        "ones where that is not set",
    )


def folders(given: list[Path], scratch: Path) -> dict[str, Path]:
    """Folders of photos by name: those given, or the default ones."""
    if given:
        return {path.parent.name if path.name == "images" else path.name: path for path in given}
    root = Path(os.environ.get("RETDM_TEST_DATA", "/nonexistent"))
    found = {name: root / name / "images" for name in _SETS if (root / name / "images").is_dir()}
    if found:
        return found
    generate(scratch / "rendered", images=200, seed=0, size=640)
    return {"rendered": scratch / "rendered" / IMAGES}


def gather(photos: Path, to: Path, count: int) -> str:
    """Links to `count` colour JPEGs under `to`/photos, each photo as often as needed.

    Returns:
        How many there are, how large, and how large their files.
    """
    (to / "photos").mkdir(parents=True)
    usable = [path for path in sorted(photos.iterdir()) if _is_colour_jpeg(path)][:count]
    rows = ["path,label"]
    for number, path in zip(range(count), itertools.cycle(usable), strict=False):
        (to / "photos" / f"{number:06}.jpg").symlink_to(path.resolve())
        rows.append(f"{number:06}.jpg,{number % 2}")
    (to / "labels.csv").write_text("\n".join(rows))
    (to / "spec.toml").write_text(_SPEC)
    sizes = [Image.open(path).size for path in usable]
    width, height = (sum(size[side] for size in sizes) / len(sizes) for side in (0, 1))
    kilobytes = sum(path.stat().st_size for path in usable) / len(usable) / 1000
    return (
        f"{count} samples, {len(usable)} photos of about {width:.0f}x{height:.0f}, "
        f"{kilobytes:.0f} kB"
    )


def pack(source: Path, out: str, *overrides: str) -> None:
    """Build the shard set of what was gathered."""
    settings = ("options.images=photos", *overrides)
    spec, options = load_spec(source / "spec.toml", settings)
    build(spec, options, source=source, out=out)


def _is_colour_jpeg(path: Path) -> bool:
    with Image.open(path) as image:
        return image.format == "JPEG" and image.mode == "RGB"
