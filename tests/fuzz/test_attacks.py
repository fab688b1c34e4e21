"""Attacks by name, against the public commands: one line, no traceback, nothing half-written."""

import hashlib
import importlib.util
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from retdm import evaluate
from retdm.console import run
from retdm.data.index import Member, format_index
from retdm.data.manifest import MANIFEST, Manifest
from retdm.datasets.registry import parse_options, read_dataset
from retdm.shard.__main__ import main as shard
from retdm.train.checkpoint import file_of
from retdm.train.history import INDEX
from tests.fuzz.containers import member, seal
from tests.fuzz.limits import attempt
from tests.shard.http_archives import Archives

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(capsys, tmp_path):
    """`call(main, ...)`: exit status and error of a program that may write below `inside` only."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "canary").write_text("as it was")

    def called(main, *arguments):
        before = _outside(tmp_path)
        capsys.readouterr()
        status = run(lambda: main([str(argument) for argument in arguments]))
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert _outside(tmp_path) == before
        return status, out + err

    return called


def _outside(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if folder / "inside" not in path.parents]
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


@pytest.fixture
def source(tmp_path):
    """Six photos, a CSV and a COCO file for them, and a spec for each."""
    folder = tmp_path / "inside/source"
    (folder / "images").mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{number}.jpg")
    rows = [f"{n}.jpg,{n % 2},{n % 3 // 2}" for n in range(6)]
    (folder / "labels.csv").write_text("\n".join(["path,dog,cat", *rows]))
    (folder / "coco.json").write_text(json.dumps(_coco()))
    split = "[split]\ntest = 0.34\nval = 0.0\n"
    (folder / "table.toml").write_text(f'name = "x"\nreader = "table"\n{split}')
    options = '[options]\nannotations = "coco.json"\n'
    (folder / "coco.toml").write_text(f'name = "x"\nreader = "coco"\n{options}{split}')
    return folder


def _coco():
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(6)],
        "annotations": [{"image_id": n, "category_id": n % 2} for n in range(6)],
        "categories": [{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}],
    }


@pytest.fixture
def build(call, source, tmp_path):
    """`build("table", ...)`: builds the source as it is; what is refused leaves no set."""

    def built(reader, *overrides):
        settings = [word for one in overrides for word in ("--set", one)]
        out = tmp_path / "inside/set"
        spec = source / f"{reader}.toml"
        status, said = call(shard, "build", spec, "--source", source, "--out", out, *settings)
        if status:
            assert not list(out.rglob("*.*")), "something is half-written"
        return status, said

    return built


def test_the_source_is_sound_as_it_is(build):
    assert build("table")[0] == 0


# Decompression bombs


def _jpeg(*, scans=1, width=16, height=12):
    out = io.BytesIO()
    Image.new("RGB", (16, 12)).save(out, "JPEG", progressive=True)
    content = out.getvalue()
    at, last = content.index(b"\xff\xc2"), content.rindex(b"\xff\xda")
    drawn = content[last:-2] * scans
    content = content[:last] + drawn + content[-2:]
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


def _png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("check", ["structure", "decode"])
@pytest.mark.parametrize(
    ("photo", "why"),
    [
        (_jpeg(width=65_500, height=65_500), "65500x65500 pixels, which could be a decompression"),
        (_jpeg(scans=2000), "scans, which could be a decompression bomb"),
        (
            _png(
                (b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)),
                (b"IDAT", zlib.compress(bytes(1000))),
                (b"IEND", b""),
            ),
            "pixels, which could be a decompression bomb",
        ),
    ],
    ids=["jpeg-size", "jpeg-scans", "png-size"],
)
def test_a_photo_that_would_fill_the_memory_is_refused(build, source, photo, why, check):
    (source / "images/3.jpg").write_bytes(photo)
    status, said = build("table", f'check="{check}"')
    assert status == 2
    assert "row 5: photo" in said
    assert why in said


def test_a_photo_in_a_format_whose_reader_starts_a_program_is_refused(
    build, source, tmp_path, monkeypatch
):
    out = io.BytesIO()
    Image.new("RGB", (16, 12)).save(out, "EPS")
    (source / "images/3.jpg").write_bytes(out.getvalue())
    ghostscript = tmp_path / "inside/bin/gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/inside/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}:{os.environ['PATH']}")
    status, said = build("table", "resize.short_side=8", 'check="decode"')
    assert (status, "cannot identify image file" in said) == (2, True)
    assert not (tmp_path / "inside/started").exists()


def test_a_zip_that_would_fill_the_disk_is_refused(call, tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.writestr(f"{number}.jpg", bytes(80 << 20))
    status, said = _fetch(call, tmp_path, out.getvalue())
    assert status == 2
    assert "would become 167772160, which could be a decompression bomb; nothing was unp" in said


def _fetch(call, tmp_path, content):
    with Archives() as server:
        server.files["x.zip"] = content
        spec = tmp_path / "inside/spec.toml"
        archive = f'[[fetch]]\nurl = "{server.url}/x.zip"\nbytes = {len(content)}\n'
        spec.write_text(f'name = "x"\nreader = "table"\n{archive}')
        folder = tmp_path / "inside/to"
        status, said = call(shard, "fetch", spec, "--to", folder, "--patience", 1)
    assert {path.name for path in folder.iterdir()} <= {".fetch"}
    return status, said


@pytest.mark.parametrize(
    "table",
    [
        {"path": pa.nulls(20_000_000, pa.string()), "dog": pa.nulls(20_000_000, pa.int8())},
        {
            "path": pa.DictionaryArray.from_arrays(
                pa.array([0] * 100, pa.int8()), pa.array(["x" * (1 << 20)])
            )
        },
    ],
    ids=["rows", "text"],
)
def test_a_parquet_file_that_would_fill_the_memory_is_refused(build, source, table):
    pq.write_table(pa.table(table), source / "t.parquet", store_schema=False, compression="zstd")
    assert (source / "t.parquet").stat().st_size < 100_000
    status, said = build("table", "options.file=t.parquet")
    assert status == 2
    assert "t.parquet: not a readable Parquet file (it" in said


def test_scores_that_would_fill_the_memory_are_refused(call, tmp_path):
    np.savez_compressed(tmp_path / "inside/s.npz", scores=np.zeros((1 << 20, 20)), targets=[[1]])
    out = tmp_path / "inside/m.json"
    status, said = call(evaluate.main, "--scores", tmp_path / "inside/s.npz", "--json", out)
    assert status == 2
    assert "which could be a decompression bomb; save it with numpy.savez" in said
    assert not out.exists()


# Names that lead elsewhere

ELSEWHERE = (
    *("../../canary", "/etc/passwd", "..\\..\\canary", "images/../../../canary", "//etc/passwd"),
    *("C:\\windows\\x.jpg", "C:x.jpg", "a\0b.jpg", "x" * 5000, "x/" * 2000, "", ".", "\udc80.jpg"),
)


@pytest.mark.parametrize("name", ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_photo_names_do_not_leave_the_source(build, source, name):
    content = _coco()
    content["images"][3]["file_name"] = name
    (source / "coco.json").write_text(json.dumps(content))
    status, said = build("coco")
    assert status == 2
    assert "coco.json: images[3]: p" in said


@pytest.mark.parametrize("name", ["../../canary", "/etc/passwd", "a/../../../canary", "a\\..\\b"])
def test_names_in_a_zip_do_not_leave_the_folder(call, tmp_path, name):
    status, said = _fetch(call, tmp_path, _zip((name, 0)))
    assert status == 2
    assert f"{name!r} leaves the folder; nothing was unpacked" in said


@pytest.mark.parametrize("kind", [0o120777, 0o020666, 0o060666, 0o010666])
def test_links_and_devices_in_a_zip_are_refused(call, tmp_path, kind):
    status, said = _fetch(call, tmp_path, _zip(("a.jpg", kind)))
    assert status == 2
    assert "'a.jpg' is a link or a device; nothing was unpacked" in said


def test_a_name_in_a_zip_that_no_file_can_have_is_refused(call, tmp_path):
    status, said = _fetch(call, tmp_path, _zip(("x" * 5000, 0)))
    assert status == 2
    assert "File name too long" in said


def _zip(*entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, kind in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.external_attr = name, kind << 16
            archive.writestr(info, b"/etc/passwd")
    return out.getvalue()


def _changed(place: Path, **fields):
    """Let the manifest say something else of its first shard, with the checksum of that."""
    table = json.loads((place / MANIFEST).read_bytes())
    del table["checksum"]
    table["splits"]["train"]["shards"][0] |= fields
    try:
        content = Manifest.model_validate(table).to_bytes()
    except ValidationError:
        content = json.dumps(table).encode()
    (place / MANIFEST).write_bytes(content)


@pytest.mark.parametrize("name", ["../../canary", "/etc/passwd", "a\0b", "", "x" * 5000])
def test_names_in_a_manifest_do_not_leave_the_set(build, call, tmp_path, name):
    build("table")
    _changed(tmp_path / "inside/set", name=name)
    status, said = call(shard, "verify", tmp_path / "inside/set")
    assert status in (1, 2)
    assert "missing; upload it again" in said or "is not a name below this root" in said


@pytest.mark.parametrize("name", ["../../../canary", "/etc/passwd", "a\0b", "x" * 5000])
def test_names_of_checkpoints_do_not_leave_the_run(call, tmp_path, name):
    kept = {"name": name, "stage": "1", "epoch": 1, "next_batch": 0, "step": 1, "sha256": "0" * 64}
    index = {"latest": name, "best": name, "history": [], "kept": [kept]}
    (tmp_path / "inside" / INDEX).write_text(json.dumps(index))
    status, said = call(evaluate.main, tmp_path / "inside")
    assert status == 2
    told = ("is not a name below this root", "File name too long", "/inside/checkpoints/")
    assert any(reason in said for reason in told)


# Tars


def _tar(*parts: bytes) -> bytes:
    return b"".join(parts) + bytes(10_240)


def _entry(kind, name, data=b"", *, size=None, link=b""):
    """A file of a tar, whose header may lie."""
    out = bytearray(member(ord(kind), name, data))
    out[157:257] = link.ljust(100, b"\0")
    if size is not None:
        mark = b"\xff" if size < 0 else b"\x80"
        out[124:136] = mark + (size % 2**88).to_bytes(11, "big")
    seal(out, 0)
    return bytes(out)


def _photo():
    out = io.BytesIO()
    Image.new("RGB", (16, 12)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def adopt(call, tmp_path):
    """`adopt(content)`: adopts a tar of these bytes by its class numbers."""

    def adopted(content, labels="cls"):
        folder = tmp_path / "inside/tars"
        folder.mkdir(exist_ok=True)
        (folder / "train.tar").write_bytes(content)
        status, said = call(shard, "adopt", folder, "--labels", labels)
        assert (folder / "train.tar").read_bytes() == content
        if status:
            assert [path.name for path in folder.iterdir()] == ["train.tar"]
        return status, said

    return adopted


SOUND = _entry("0", b"a.jpg", _photo()) + _entry("0", b"a.cls", b"1")


@pytest.mark.parametrize("kind", "123456", ids=["hard", "soft", "char", "block", "folder", "fifo"])
def test_links_and_devices_in_a_tar_are_passed_over(adopt, call, tmp_path, kind):
    link = _entry(kind, b"b.jpg", link=b"/etc/passwd") + _entry("0", b"b.cls", b"1")
    assert adopt(_tar(link, SOUND))[1].count("sample 'b'") == 1
    assert adopt(_tar(SOUND, _entry(kind, b"c.jpg", link=b"../../canary")))[0] == 0
    assert call(shard, "verify", tmp_path / "inside/tars")[0] == 0


@pytest.mark.parametrize("kind", "123456", ids=["hard", "soft", "char", "block", "folder", "fifo"])
def test_links_and_devices_in_a_built_tar_are_a_fault(build, call, tmp_path, kind):
    build("table")
    tar = tmp_path / "inside/set/train/000000.tar"
    tar.write_bytes(_tar(_entry(kind, b"b.jpg", link=b"/etc/passwd")))
    status, said = call(shard, "verify", tmp_path / "inside/set")
    assert status == 1
    assert "damaged behind sample 0: 'b.jpg' is not a plain file" in said


@pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64, 2**80, -1, -512, -1024, -(2**63)])
@pytest.mark.parametrize("kind", "0xgLK")
def test_absurd_sizes_in_a_tar_are_damage(adopt, size, kind):
    status, said = adopt(_tar(SOUND, _entry(kind, b"b.jpg", b"1", size=size)))
    assert status == 2
    assert "train.tar: it is damaged or cut off (" in said


@pytest.mark.parametrize("kind", "xgLK")
def test_thousands_of_headers_before_a_file_are_damage(adopt, kind):
    status, said = adopt(_tar(_entry(kind, b"h", b"12 path=a.b\n") * 5000, SOUND))
    assert status == 2
    assert "headers before headers, hundreds of them" in said


def test_a_pax_size_that_leads_backwards_is_damage(adopt):
    status, said = adopt(_tar(_entry("x", b"h", b"14 size=-1024\n"), SOUND))
    assert status == 2
    assert "'a.jpg' has a size of -1024" in said


def test_a_number_of_a_million_digits_is_damage_soon(adopt):
    status, said = adopt(_tar(_entry("x", b"h", b"1" * 900_000), SOUND))
    assert status == 2
    assert "a header with a number of a thousand digits" in said


def test_a_header_as_large_as_the_memory_is_damage(adopt):
    status, said = adopt(_tar(_entry("x", b"h", b"9 path=x\n" * 200_000), SOUND))
    assert status == 2
    assert "a header of 1800192 bytes" in said


@pytest.mark.parametrize("name", [b"../../canary.jpg", b"/etc/cron.d/x.jpg", b"C:\\x.jpg"])
def test_names_in_a_tar_are_only_names(adopt, name):
    key = name.removesuffix(b".jpg")
    tar = _tar(_entry("0", name, _photo()), _entry("0", key + b".cls", b"1"))
    assert adopt(tar)[0] == 0


def test_a_compressed_tar_is_not_unpacked(adopt):
    packed = subprocess.run(["gzip", "-c"], input=_tar(SOUND), capture_output=True, check=True)
    status, said = adopt(packed.stdout)
    assert status == 2
    assert "it is compressed (gzip)" in said


# JSON that two programs read differently, or that a program dies of

JSONS = {
    "twice": ('{"tags": ["a"], "tags": ["b"]}', "an object has the key 'tags' twice"),
    "deep": ('{"tags": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested more than 100 deep"),
    "deep-enough": ('{"tags": ' + "[" * 300 + "]" * 300 + "}", "nested more than 100 deep"),
    "digits": ('{"tags": ' + "9" * 5000 + "}", "Exceeds the limit"),
    "nan": ('{"tags": [NaN]}', "are not all whole numbers"),
    "infinity": ('{"tags": [Infinity]}', "are not all whole numbers"),
    "half-a-character": ('{"tags": ["\\ud800"]}', "is not Unicode text"),
    "utf-16": ('{"tags": ["a"]}'.encode("utf-16"), "not UTF-8"),
}


@pytest.mark.parametrize("text, why", JSONS.values(), ids=JSONS)
def test_json_of_a_sample(adopt, text, why):
    content = text.encode() if isinstance(text, str) else text
    tar = _tar(_entry("0", b"a.jpg", _photo()), _entry("0", b"a.json", content))
    status, said = adopt(tar, "json:tags")
    assert status == 2
    assert why in said


COCO = {
    "twice": ('"annotations": [], "annotations": ', "an object has the key 'annotations' twice"),
    "deep": ('"x": ' + "[" * 100_000 + "]" * 100_000 + ', "annotations": ', "not valid JSON"),
    "digits": ('"x": ' + "9" * 5000 + ', "annotations": ', "Exceeds the limit"),
    "half-a-character": ('"x": 1, "annotations": ', "half a character"),
}


@pytest.mark.parametrize("old, why", COCO.values(), ids=COCO)
def test_json_of_annotations(build, source, old, why):
    text = json.dumps(_coco()).replace('"annotations": ', old)
    if "half" in why:
        text = text.replace('"dog"', '"\\ud800"')
    (source / "coco.json").write_text(text)
    status, said = build("coco")
    assert status == 2
    assert why in said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_annotations_with_a_byte_order_mark_are_read(build, source, encoding):
    (source / "coco.json").write_text(json.dumps(_coco()), encoding=encoding)
    assert build("coco")[0] == 0


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"samples": 2**63}, "shards.0.samples: Input should be less than"),
        ({"samples": -1}, "shards.0.samples: Input should be greater than or equal to 0"),
        ({"bytes": 2**64}, "shards.0.bytes: Input should be less than"),
        ({"bytes": -1}, "shards.0.bytes: Input should be greater than or equal to 0"),
    ],
)
def test_absurd_numbers_in_a_manifest(build, call, tmp_path, fields, why):
    build("table")
    _changed(tmp_path / "inside/set", **fields)
    status, said = call(shard, "verify", tmp_path / "inside/set")
    assert status == 1
    assert why in said


def test_a_manifest_with_a_key_twice(build, call, tmp_path):
    build("table")
    manifest = tmp_path / "inside/set" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"name"', '"name": "y", "name"', 1))
    status, said = call(shard, "verify", tmp_path / "inside/set")
    assert status == 1
    assert "an object has the key 'name' twice" in said


def test_an_index_with_absurd_numbers(build, call, tmp_path):
    build("table")
    index = tmp_path / "inside/set/train/000000.idx"
    index.write_bytes(format_index([(Member("jpg", 2**63, 2**70, "0.jpg"),)]))
    status, said = call(shard, "verify", tmp_path / "inside/set")
    assert status == 1
    assert "listed as (Member(ext='jpg', offset=9223372036854775808, size=1180591620717" in said


# Work that grows with the square of a file's size


def _columns(count):
    return "path," + ",".join(f"c{n}" for n in range(count)) + "\n0.jpg" + ",0" * count + "\n"


@pytest.mark.parametrize(
    ("reader", "options", "text"),
    [
        ("table", {}, _columns(100_000)),
        ("table", {}, _columns(100_000).replace("c99999", "c99998", 1)),
        (
            "table",
            {"label_column": "tags"},
            "path,tags\n0.jpg," + ";".join(f"c{n}" for n in [*range(200_000), 199_999]) + "\n",
        ),
        (
            "coco",
            {"annotations": "file"},
            "{" + ",".join(f'"c{n}": 1' for n in [*range(200_000), 199_999]) + "}",
        ),
    ],
    ids=["columns", "columns-twice", "labels-twice", "keys-twice"],
)
def test_a_long_file_is_no_hang(source, reader, options, text):
    def read(content):
        (source / "file").write_bytes(content)
        given = {"file": "file"} if reader == "table" else {}
        read_dataset(reader, parse_options(reader, given | options, where="spec"), source)

    assert not attempt(read, text.encode(), peak_bytes=1 << 30).finding


# Code in data


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def _torch_legacy(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)


def _plain_pickle(value, path):
    path.write_bytes(pickle.dumps(value, 2))


def _tar_pickle(value, path):
    with tarfile.open(path, "w") as tar:
        for name in ("pickle", "storages", "tensors"):
            content = pickle.dumps(value, 2)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("write", [torch.save, _torch_legacy, _plain_pickle, _tar_pickle])
def test_a_pickle_in_a_checkpoint_is_not_executed(call, tmp_path, write):
    checkpoint = tmp_path / "inside" / file_of("x")
    checkpoint.parent.mkdir()
    write({"model": _Touch(tmp_path / "touched"), "progress": {}}, checkpoint)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    kept = {"name": "x", "stage": "1", "epoch": 1, "next_batch": 0, "step": 1, "sha256": digest}
    index = {"latest": "x", "best": "x", "history": [], "kept": [kept]}
    (tmp_path / "inside" / INDEX).write_text(json.dumps(index))
    status, said = call(evaluate.main, tmp_path / "inside")
    assert status == 2
    assert "not a whole checkpoint" in said
    assert not (tmp_path / "touched").exists()


def test_a_pickle_in_scores_is_not_executed(call, tmp_path):
    scores = np.array([[_Touch(tmp_path / "touched")]], dtype=object)
    np.savez(tmp_path / "inside/s.npz", scores=scores, targets=scores)
    status, said = call(evaluate.main, "--scores", tmp_path / "inside/s.npz")
    assert status == 2
    assert "cannot be read as plain numbers: Object arrays cannot be loaded" in said
    assert not (tmp_path / "touched").exists()


# Recipes


RECIPES = {
    "deep": ("x = " + "[" * 5000 + "]" * 5000, "tables or lists in one another, too many"),
    "long-key": ("a." * 30_000 + "a = 1", "tables or lists in one another, too many"),
    "digits": ("seed = " + "9" * 5000, "Exceeds the limit"),
    "hex": ("seed = 0x" + "f" * 5000, "r.toml: seed is a whole number of more than 64 bits"),
    "nan": ("[loss]\nlambda1 = inf", "loss.lambda1 is inf: Input should be a finite number"),
    "latin-1": (b"method = '\xe9'", "not a readable TOML file ('utf-8' codec"),
    "utf-16": ("seed = 1".encode("utf-16"), "not a readable TOML file ('utf-8' codec"),
    "twice": ("seed = 1\nseed = 2", "not a readable TOML file (Cannot overwrite a value"),
}


@pytest.mark.parametrize("text, why", RECIPES.values(), ids=RECIPES)
def test_recipes(call, tmp_path, monkeypatch, text, why):
    recipe = tmp_path / "inside/r.toml"
    recipe.write_bytes(text.encode() if isinstance(text, str) else text)
    spec = importlib.util.spec_from_file_location("train", ROOT / "jobs/train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    storage = str(tmp_path / "inside/runs")
    monkeypatch.setattr(sys, "argv", ["train.py", str(recipe), "--storage", storage])
    status, said = call(lambda _: train.main())
    assert status == 2
    assert why in said
    assert not Path(storage).exists()
