"""What a shard set is made of, and what one is made from."""

import hashlib
import io
import json
import random
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from retdm.data.decode import Decoder
from retdm.data.index import Member, format_index, parse_index
from retdm.data.manifest import MANIFEST, Manifest, load_manifest
from retdm.data.split import open_split
from retdm.data.table import read_table, table_bytes
from retdm.datasets import Record
from retdm.errors import RetdmError
from retdm.shard.adopt_rules import AdoptRules
from retdm.shard.adopt_scan import ScanTask, scan
from retdm.shard.adopt_set import adopt
from retdm.shard.build import build
from retdm.shard.fetch_zip import unpack
from retdm.shard.photo import read_photo
from retdm.shard.spec import ResizeOptions, load_spec
from retdm.shard.verify import verify
from retdm.shard.verify_tar import TarCheck, check_tar
from retdm.storage import open_store
from tests.fuzz.containers import (
    edited_jpeg,
    edited_parquet,
    edited_png,
    edited_tar,
    edited_zip,
)
from tests.fuzz.mutation import damaged, edited_json, edited_words, one_of, other_encoding
from tests.fuzz.target import Reader, Target

_SPEC = 'name = "x"\nreader = "table"\n[shards]\nsamples = 2\n[split]\ntest = 0.34\nval = 0.0\n'


def _picture(number: int, kind: str, mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


def _built(folder: Path) -> Path:
    """A shard set of six photos in two splits."""
    source = folder / "source"
    (source / "images").mkdir(parents=True)
    rows = ["path,dog,cat"]
    for number in range(6):
        name, kind = (f"{number}.png", "PNG") if number == 3 else (f"{number}.jpg", "JPEG")
        (source / "images" / name).write_bytes(_picture(number, kind))
        rows.append(f"{name},{number % 2},{number % 3 // 2}")
    (source / "labels.csv").write_text("\n".join(rows))
    (source / "spec.toml").write_text(_SPEC)
    spec, options = load_spec(source / "spec.toml")
    build(spec, options, source=source, out=str(folder / "set"))
    return folder / "set"


def _index(folder: Path) -> tuple[list[bytes], Reader]:
    members = [
        (Member("jpg", 512 * n, 300, f"{n}.jpg"), Member("json", 512 * n + 1024, 20, f"{n}.json"))
        for n in range(4)
    ]
    seeds = [format_index(members), format_index([])]
    return seeds, lambda given: parse_index(given, name="x.idx")


def _manifest(folder: Path) -> tuple[list[bytes], Reader]:
    place = _built(folder)

    def read(given: bytes) -> None:
        (place / MANIFEST).write_bytes(given)
        verify(str(place))
        for split in load_manifest(open_store(str(place))).splits:
            _ = open_split(str(place), split).shard_numbers

    return [(place / MANIFEST).read_bytes()], read


def _edited_manifest(rng: random.Random, content: bytes) -> bytes:
    """Another manifest, whose checksum is right if it can be."""
    table = json.loads(content)
    del table["checksum"]
    other = edited_json(rng, json.dumps(table).encode())
    try:
        return Manifest.model_validate(json.loads(other)).to_bytes()
    except (ValueError, RecursionError):
        return other


def _label_table(folder: Path) -> tuple[list[bytes], Reader]:
    digests = [hashlib.sha256(bytes([n])).hexdigest() for n in range(5)]
    sizes = [10] * 5
    rows = [[0], [], [1, 2], [2], [0, 1, 2]]
    content = table_bytes(list("abcde"), rows, digests, sizes, sizes, range(512, 517), sizes)
    return [content], lambda given: read_table(given, labels=3, name="labels.parquet")


def _built_tar(folder: Path) -> tuple[list[bytes], Reader]:
    place = _built(folder)
    store = open_store(str(place))
    manifest = load_manifest(store)
    shard = manifest.splits["train"].shards[0]
    table = open_split(str(place), "train").table
    check = TarCheck(store, shard, manifest.labels, table, has_index=True)

    def read(given: bytes) -> None:
        (place / shard.name).write_bytes(given)
        assert all(str(fault) for event in check_tar(check) for fault in event.faults)

    return [(place / shard.name).read_bytes()], read


def _foreign_tar(folder: Path) -> tuple[list[bytes], Reader]:
    seeds = []
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as tar:
            for number, kind in enumerate(("JPEG", "PNG", "WEBP")):
                files = {
                    kind.lower(): _picture(number, kind),
                    "cls": b"%d" % number,
                    "json": json.dumps({"tags": ["a", "b"], "n": number}).encode(),
                    "txt": b"sea, sky",
                }
                for ext, content in files.items():
                    info = tarfile.TarInfo(f"d/k{number}{'x' * 90 * (number % 2)}.{ext}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        seeds.append(out.getvalue())
    store = open_store(str(folder))
    others = (
        AdoptRules(labels="cls", check="decode"),
        AdoptRules(labels="txt", skip_faulty=True, prefix_keys=True),
    )

    def read(given: bytes) -> None:
        (folder / "train.tar").write_bytes(given)
        for rules in others:
            assert [event for event in scan(ScanTask(store, "train.tar", rules, None))]
        if zlib.crc32(given) % 4:  # what follows takes many times as long
            return
        tags = AdoptRules(labels="json:tags", skip_faulty=True)
        adopt(str(folder), tags, overwrite=True)
        open_split(str(folder), "train")
        verify(str(folder))

    return seeds, read


def _edited_sample(rng: random.Random, content: bytes) -> bytes:
    """A tar of which one file holds something else."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as tar,
        tarfile.open(fileobj=out, mode="w") as made,
    ):
        members = tar.getmembers()
        chosen = rng.choice(members)
        for info in members:
            data = tar.extractfile(info).read()  # type: ignore[union-attr]
            if info is chosen:
                edit = edited_json if info.name.endswith("json") else edited_words
                edit = damaged if info.name.endswith(("jpeg", "jpg", "png", "webp")) else edit
                data = edit(rng, data)
                info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _photo(folder: Path) -> tuple[list[bytes], Reader]:
    record = Record("x", folder / "x.jpg", (), None, "row 1")
    reduce = ResizeOptions(short_side=8)

    def read(given: bytes) -> None:
        record.image.write_bytes(given)
        refusals = []
        for resize, check in ((ResizeOptions(), "structure"), (reduce, "decode")):
            try:
                read_photo(record, resize, check=check)
            except RetdmError as error:
                refusals.append(error)
        if refusals:
            raise refusals[0]

    return _pictures(), read


def _pixels(folder: Path) -> tuple[list[bytes], Reader]:
    decoder = Decoder.of(image_size=16, resize=0, augment="none")
    into = np.empty((3, 16, 16), dtype=np.uint8)
    crop = decoder.centre_crop()
    return _pictures(), lambda given: decoder.decode(given, crop, into=into)


def _pictures() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        _picture(0, "JPEG", exif=exif),
        _picture(1, "JPEG", progressive=True),
        _picture(2, "JPEG", mode="CMYK"),
        _picture(3, "PNG"),
        _picture(4, "PNG", mode="P"),
        _picture(5, "PNG", mode="I;16"),
        _picture(6, "WEBP"),
        _picture(7, "GIF"),
        _picture(8, "TIFF", compression="tiff_lzw"),
        _picture(9, "BMP"),
        _picture(10, "MPO", save_all=True, append_images=[Image.new("RGB", (5, 5))]),
    ]


def _archive(folder: Path) -> tuple[list[bytes], Reader]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("photos/1.jpg", "photos/2.jpg", "notes/a.txt"):
            made.writestr(name, name.encode() * 50)
    into = folder / "deep" / "into"
    into.mkdir(parents=True)
    archive = folder / "deep" / "x.zip"

    def read(given: bytes) -> None:
        archive.write_bytes(given)
        try:
            unpack(archive, into, members="*", own=set(into.rglob("*")))
        finally:
            outside = set(folder.rglob("*")) - set(into.rglob("*"))
            assert outside == {folder / "deep", into, archive}, f"{outside}"

    return [out.getvalue()], read


_IMAGE_BYTES = 1 << 30
"""What Pillow allows for one image, 89 million pixels, in its widest form and as RGB."""

TARGETS = {
    "tar-index": Target(_index, one_of(edited_words, edited_words, damaged, other_encoding)),
    "manifest": Target(
        _manifest, one_of(_edited_manifest, _edited_manifest, edited_json, damaged, other_encoding)
    ),
    "label-table": Target(_label_table, edited_parquet),
    "built-tar": Target(_built_tar, one_of(edited_tar, edited_tar, _edited_sample, damaged)),
    "foreign-tar": Target(_foreign_tar, one_of(edited_tar, edited_tar, _edited_sample, damaged)),
    "photo": Target(_photo, one_of(edited_jpeg, edited_png, damaged), _IMAGE_BYTES),
    "pixels": Target(_pixels, one_of(edited_jpeg, edited_png, damaged), _IMAGE_BYTES),
    "fetched-zip": Target(_archive, one_of(edited_zip(damaged), damaged)),
}
