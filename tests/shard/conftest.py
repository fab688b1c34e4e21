"""Small data sets to pack, and the command line as a function."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retdm.console import run
from retdm.shard.__main__ import main
from retdm.shard.build import build
from retdm.shard.spec import load_spec

SPEC = """
name = "tiny"
reader = "table"
[shards]
samples = 4
"""


def picture(number: int, kind: str = "JPEG", **options: Any) -> bytes:
    """A noisy image whose bytes depend on `number`."""
    width, height = 24 + number % 5, 20 + number % 3
    pixels = np.random.Generator(np.random.Philox(number)).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def image() -> Callable[..., bytes]:
    """`image(number, kind)`: bytes of a small picture."""
    return picture


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


@pytest.fixture
def bomb() -> bytes:
    """A PNG of few bytes that claims 60,000 by 60,000 pixels."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty photos, one of them PNG, with two labels in a CSV and the spec beside them."""
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    rows = ["path,sea,sky"]
    for number in range(20):
        name = f"{number}.{'png' if number == 7 else 'jpg'}"
        (folder / "images" / name).write_bytes(picture(number, "PNG" if number == 7 else "JPEG"))
        rows.append(f"{name},{number % 2},{int(number % 3 == 0)}")
    (folder / "labels.csv").write_text("\n".join(rows))
    (folder / "spec.toml").write_text(SPEC)
    return folder


@pytest.fixture
def pack(source: Path) -> Callable[..., Any]:
    """`pack(url, "a.b=c", ...)`: build the twenty photos; returns the manifest."""

    def packed(url: str | Path, *overrides: str, **options: Any) -> Any:
        spec, of_reader = load_spec(source / "spec.toml", overrides)
        return build(spec, of_reader, source=source, out=str(url), **options)

    return packed


@pytest.fixture
def shards(pack: Any, tmp_path: Path) -> Path:
    """A sound shard set in a folder."""
    pack(tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`cli("build", ...)`: exit status, stdout and stderr of `python -m retdm.shard`."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        status = run(lambda: main([str(argument) for argument in arguments]))
        return status, *capsys.readouterr()

    return call
