"""The files that people write: annotations, recipes, overrides, shard specs."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from retdm.config import Config, apply_overrides, load_config, parse
from retdm.datasets import assign_splits
from retdm.datasets.registry import parse_options, read_dataset
from retdm.datasets.splits import SplitOptions
from retdm.shard.layout import lay_out
from retdm.shard.spec import ShardSpec, load_spec
from tests.fuzz.containers import edited_parquet
from tests.fuzz.mutation import (
    damaged,
    edited_json,
    edited_toml,
    edited_words,
    one_of,
    other_encoding,
)
from tests.fuzz.target import Reader, Target

ROOT = Path(__file__).resolve().parents[2]
_SPEC = b"""name = "pets"
reader = "table"
check = "decode"
[options]
file = "labels.csv"
images = "images"
path_column = "path"
labels = ["dog", "cat"]
[split]
test = 0.2
val = 0.15
seed = 1
[resize]
short_side = 256
quality = 90
[shards]
bytes = 67_108_864
samples = 10
[[fetch]]
url = "https://host/photos.zip"
bytes = 3_069_184_257
digest = "md5:00112233445566778899aabbccddeeff"
members = "photos/*.jpg"
into = "images"
unpacked = 3_100_000_000
"""


def _dataset(source: Path, reader: str, **options: Any) -> None:
    """Read a source and lay it out, which is all that happens before photos are read."""
    dataset = read_dataset(reader, parse_options(reader, options, where="spec"), source)
    records = assign_splits(dataset.records, SplitOptions())
    lay_out(records, ShardSpec(name="x", reader=reader), dataset.labels.names)


def _photos(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (8, 6)).save(folder / name)


def _coco(folder: Path) -> tuple[list[bytes], Reader]:
    _photos(folder / "images", *(f"{n}.jpg" for n in range(8)))
    content = {
        "info": {"year": 2014},
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 8} for n in range(8)],
        "annotations": [
            {
                **{"id": n, "image_id": n % 8, "category_id": n % 3, "iscrowd": n % 2},
                "segmentation": [[1.5, 2, 3, 4]],
            }
            for n in range(12)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(("dog", "cat", "sea"))],
    }

    def read(given: bytes) -> None:
        (folder / "a.json").write_bytes(given)
        _dataset(folder, "coco", annotations="a.json")

    return [json.dumps(content).encode()], read


def _mirflickr(folder: Path) -> tuple[list[bytes], Reader]:
    _photos(folder / "photos", *(f"im{n}.jpg" for n in range(1, 11)))

    def read(given: bytes) -> None:
        (folder / "sea.txt").write_bytes(given)
        _dataset(folder, "mirflickr", images="photos", annotations="", concepts=["sea"])

    return [b"1\n2\n7\n10\n", b"1\r\n\r\n 3\r\n"], read


def _csv(folder: Path) -> tuple[list[bytes], Reader]:
    _photos(folder / "images", *(f"{n}.jpg" for n in range(8)))
    zeros = "".join(f"{n}.jpg,{n % 2},{n % 3 // 2}\n" for n in range(8))
    listed = "".join(f"{n}.jpg,a;b,k{n},train\n" for n in range(8))

    def read(given: bytes) -> None:
        (folder / "labels.csv").write_bytes(given)
        if b"labels" in given[:60]:
            named = {"key_column": "key", "split_column": "split", "label_column": "labels"}
            _dataset(folder, "table", **named)
        else:
            _dataset(folder, "table")

    seeds = ["path,dog,cat\n" + zeros, "path,labels,key,split\n" + listed]
    return [seed.encode() for seed in seeds], read


def _parquet(folder: Path) -> tuple[list[bytes], Reader]:
    _photos(folder / "images", *(f"{n}.jpg" for n in range(8)))
    paths = [f"{n}.jpg" for n in range(8)]
    tables = (
        {"path": paths, "dog": [n % 2 for n in range(8)], "cat": [True] * 8},
        {"path": paths, "labels": [["a", "b"][: n % 3] for n in range(8)]},
    )
    seeds = []
    for table in tables:
        out = io.BytesIO()
        pq.write_table(pa.table(table), out)
        seeds.append(out.getvalue())

    def read(given: bytes) -> None:
        (folder / "t.parquet").write_bytes(given)
        listed = "labels" if b"labels" in given else ""
        _dataset(folder, "table", file="t.parquet", label_column=listed)

    return seeds, read


def _recipe(folder: Path) -> tuple[list[bytes], Reader]:
    seeds = [path.read_bytes() for path in sorted((ROOT / "jobs/recipes").glob("*.toml"))]
    seeds.append(b"[stages.1]\nepochs = 5\nlr = 0.1\n[data]\nurl = 'x'\n[loss]\ntau = 0.5\n")

    def read(given: bytes) -> None:
        (folder / "r.toml").write_bytes(given)
        config = load_config(folder / "r.toml", ["data.batch_size=8", "stages.*.epochs=1"])
        parse(Config, config.model_dump(mode="json"), source="again")

    return seeds, read


def _overrides(folder: Path) -> tuple[list[bytes], Reader]:
    seeds = [
        b"data.url=s3://a/b\nseed=3\nstages.*.epochs=1\nloss.tau=0.5",
        b"model.backbone=timm:x\nstages.3.losses=['metric']\nrun.deterministic=true\ndata={}",
    ]

    def read(given: bytes) -> None:
        lines = given.decode(errors="surrogateescape").split("\n")
        parse(Config, apply_overrides({"stages": {"1": {"epochs": 2}}}, lines), source="recipe")

    return seeds, read


def _spec(folder: Path) -> tuple[list[bytes], Reader]:
    seeds = [path.read_bytes() for path in sorted((ROOT / "shards").glob("*.toml"))]

    def read(given: bytes) -> None:
        (folder / "s.toml").write_bytes(given)
        load_spec(folder / "s.toml", ["shards.samples=4"])

    return [*seeds, _SPEC], read


_TOML = one_of(edited_toml, edited_toml, edited_toml, damaged, other_encoding)
_WORDS = one_of(edited_words, edited_words, edited_words, damaged, other_encoding)

TARGETS = {
    "coco": Target(_coco, one_of(edited_json, edited_json, edited_json, damaged, other_encoding)),
    "mirflickr": Target(_mirflickr, _WORDS),
    "table-csv": Target(_csv, _WORDS),
    "table-parquet": Target(_parquet, edited_parquet),
    "recipe": Target(_recipe, _TOML),
    "overrides": Target(_overrides, one_of(edited_toml, edited_words, damaged)),
    "shard-spec": Target(_spec, _TOML),
}
