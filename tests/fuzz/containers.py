"""Damage inside tars, zips, PNGs and Parquet files, whose own checksums are right again."""

import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutation import NAMES, NUMBERS, Mutator, damaged

_BLOCK = 512
_FIELDS = {
    **{"name": (0, 100), "mode": (100, 8), "size": (124, 12), "mtime": (136, 12)},
    **{"kind": (156, 1), "link": (157, 100), "magic": (257, 8), "device": (329, 16)},
    **{"prefix": (345, 155), "sparse": (386, 97), "real size": (483, 12)},
}
_KINDS = b"0\x001234567DKLMNSVgxXA "


def edited_tar(rng: random.Random, content: bytes) -> bytes:
    """A header says something else, or there are headers of other kinds before it."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        headers = _headers(out)
        if not headers:
            return damaged(rng, bytes(out))
        at = rng.choice(headers)
        if rng.random() < 0.4:
            out[at:at] = _extra(rng)
        else:
            field = rng.choice([*_FIELDS, "size", "size", "kind"])
            start, length = _FIELDS[field]
            out[at + start : at + start + length] = _field(rng, field, length)
            seal(out, at)
    return bytes(out)


def _headers(content: bytes) -> list[int]:
    """Where the headers of a sound tar begin; of a damaged one, those before the damage."""
    found: list[int] = []
    at = 0
    while at + _BLOCK <= len(content) and content[at] and len(found) < 1000:
        found.append(at)
        try:
            size = tarfile.nti(content[at + 124 : at + 136])  # type: ignore[attr-defined]
        except tarfile.TarError:
            break
        if size < 0:
            break
        at += _BLOCK + -(-size // _BLOCK) * _BLOCK
    return found


def _field(rng: random.Random, field: str, length: int) -> bytes:
    if field == "kind":
        return bytes([rng.choice(_KINDS)])
    if field in ("name", "link", "prefix"):
        name = rng.choice(NAMES).encode("utf-8", "surrogatepass")
        return rng.choice((name, b"\xff\xfe.jpg", b"a.jpg", b"a.b.c.jpg"))[:length].ljust(
            length, b"\0"
        )
    return rng.choice((_number(rng, length), rng.randbytes(length), bytes(length), b" " * length))


def _number(rng: random.Random, length: int) -> bytes:
    """As octal digits, or base 256, which also has negative numbers."""
    number = rng.choice(NUMBERS)
    if rng.random() < 0.5 or number < 0:
        size = length - 1
        return (b"\xff" if number < 0 else b"\x80") + (number % 256**size).to_bytes(size, "big")
    return (b"%o" % number)[-length + 1 :].rjust(length - 1, b"0") + b"\0"


def _extra(rng: random.Random) -> bytes:
    """One header more, or many, with what they hold."""
    kind = rng.randrange(6)
    if kind == 0:
        record = _pax(rng)
        return member(rng.choice(b"xgX"), b"PaxHeader", record) * rng.choice((1, 1, 1, 2, 2000))
    if kind == 1:
        name = rng.choice(NAMES).encode("utf-8", "surrogatepass") + b"\0"
        return member(rng.choice(b"LK"), b"././@LongLink", name) * rng.choice((1, 1, 1, 2, 2000))
    if kind == 2:
        target = rng.choice((b"a.jpg", b"/etc/passwd", b"../x", b"loop.jpg"))
        header = bytearray(member(rng.choice(b"12"), b"loop.jpg", b""))
        header[157:257] = target.ljust(100, b"\0")
        seal(header, 0)
        return bytes(header)
    if kind == 3:
        return member(rng.choice(b"3456"), rng.choice((b"dev.jpg", b"dir.jpg", b"fifo.json")), b"")
    if kind == 4:
        return member(
            b"0"[0], rng.choice((b"noext", b"__x__", b".jpg", b"a.", b"a.jpg", b"b.cls")), b"1"
        )
    return bytes(_BLOCK * rng.choice((1, 2, 40)))


def _pax(rng: random.Random) -> bytes:
    keys = ("size", "path", "linkpath", "mtime", "uid", "hdrcharset", "GNU.sparse.size", "comment")
    sparse = ("GNU.sparse.map", "GNU.sparse.major", "GNU.sparse.realsize", "GNU.sparse.numblocks")
    records = b""
    for _ in range(rng.choice((1, 1, 2, 4))):
        key = rng.choice((*keys, *sparse, "GNU.sparse.name", "GNU.sparse.minor"))
        values = (*map(str, NUMBERS), *NAMES, "1,2,3", "0,1", "BINARY", "1.5", "9" * 5000)
        value = rng.choice(values).encode("utf-8", "surrogatepass")
        text = b" %b=%b\n" % (key.encode(), value)
        length = len(text) + 2
        while len(b"%d" % length) + len(text) != length:
            length = len(b"%d" % length) + len(text)
        shown = rng.choice((length, length, length, length, rng.choice(NUMBERS)))
        records += b"%d" % shown + text
    return records


def member(kind: int, name: bytes, data: bytes) -> bytes:
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    header[:100] = name.ljust(100, b"\0")
    header[124:136] = b"%011o\0" % len(data)
    header[156] = kind
    seal(header, 0)
    return bytes(header) + data + bytes(-len(data) % _BLOCK)


def seal(content: bytearray, at: int) -> None:
    """Put the checksum of a header right."""
    content[at + 148 : at + 156] = b" " * 8
    content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + _BLOCK])


def edited_png(rng: random.Random, content: bytes) -> bytes:
    """A chunk holds something else, is missing or there twice; or there is another one."""
    if not content.startswith(b"\x89PNG"):
        return damaged(rng, content)
    chunks, at = [], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(chunks))
        kind, data = chunks[at]
        what = rng.randrange(5)
        if what == 0:
            chunks[at] = kind, damaged(rng, data)
        elif what == 1:
            del chunks[at]
            chunks = chunks or [(b"IEND", b"")]
        elif what == 2:
            chunks.insert(at, chunks[at])
        elif what == 3:
            names = (
                b"iCCP",
                b"zTXt",
                b"iTXt",
                b"tEXt",
                b"PLTE",
                b"tRNS",
                b"eXIf",
                b"acTL",
                b"fcTL",
            )
            bomb = b"k\0\0" + zlib.compress(bytes(rng.choice((10, 1 << 20, 100 << 20))))
            chunks.insert(at, (rng.choice(names), rng.choice((b"", bomb, rng.randbytes(20)))))
        else:
            sizes = struct.pack(">II", *(rng.choice(NUMBERS) % 2**32 for _ in range(2)))
            rest = bytes([*rng.choices((1, 2, 4, 8, 16, 3), k=1), rng.choice((0, 2, 3, 4, 6, 7))])
            chunks[0] = b"IHDR", sizes + rest + bytes([0, 0, rng.choice((0, 1, 2))])
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def edited_jpeg(rng: random.Random, content: bytes) -> bytes:
    """The frame's size or another segment is another one."""
    at = content.find(b"\xff\xc0")
    if not content.startswith(b"\xff\xd8") or at < 0:
        return damaged(rng, content)
    out = bytearray(content)
    kind = rng.randrange(4)
    if kind == 0:
        sides = (0, 1, 8, 1000, 8000, 20_000, 65_535)
        out[at + 5 : at + 9] = struct.pack(">HH", rng.choice(sides), rng.choice(sides))
    elif kind == 1:
        out[at + 1] = rng.choice((*range(0xC0, 0xD0), 0xD9, 0xDA, 0xFF, 0x01))
    elif kind == 2:
        data = rng.choice(
            (b"Exif\0\0" + rng.randbytes(40), b"ICC_PROFILE\0\1\1", b"MPF\0" + bytes(9))
        )
        marker = rng.choice((0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xC4, 0xDB, 0xDD))
        out[2:2] = b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data
    else:
        out[at + 4 : at + 5 + rng.randrange(12)] = rng.randbytes(1 + rng.randrange(12))
    return bytes(out)


def edited_zip(
    edit: Mutator, *, sealed: Callable[[dict[str, bytes]], None] = lambda _: None
) -> Mutator:
    """A mutator of zips whose members `edit` changes; `sealed` puts right what depends on them."""

    def mutate(rng: random.Random, content: bytes) -> bytes:
        if rng.random() < 0.15:
            return damaged(rng, content)
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            members = {info.filename: opened.read(info) for info in opened.infolist()}
        name = rng.choice(list(members))
        kind = rng.randrange(8)
        if kind == 0:
            del members[name]
        elif kind == 1:
            other = rng.choice((*NAMES, *members)).encode(errors="replace").decode() or "x"
            members[other] = members[name]
        elif kind == 2:
            members[name] = members[rng.choice(list(members))]
        else:
            members[name] = edit(rng, members[name])
        if rng.random() < 0.9:
            sealed(members)
        out = io.BytesIO()
        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with zipfile.ZipFile(out, "w", method) as made:
            for key, value in members.items():
                info = zipfile.ZipInfo(key)
                info.compress_type = method
                info.external_attr = (
                    rng.choice((0, 0, 0, 0o120777, 0o100644, 0o040755, -1)) % 2**16 << 16
                )
                made.writestr(info, value)
        return out.getvalue()

    return mutate


def edited_npy(rng: random.Random, content: bytes) -> bytes:
    """The header of an array says something else."""
    if not content.startswith(b"\x93NUMPY"):
        return damaged(rng, content)
    length = int.from_bytes(content[8:10], "little")
    kinds = (
        "<f8",
        "|b1",
        "|O",
        "<c16",
        "<U9",
        ">i2",
        "|S0",
        "|V8",
        "M8[ns]",
        "<f2",
        "",
        "x",
        "<f0",
    )
    shape = rng.choice(
        (
            *((n,) for n in NUMBERS),
            *((rng.choice(NUMBERS), rng.choice(NUMBERS)), (3, 2, 2), (), (0, 5), ("a",), (1.5,)),
            ((1,),) * 3,
            (1,) * 100,
        )
    )
    text = rng.choice(
        (
            repr({"descr": rng.choice(kinds), "fortran_order": False, "shape": shape}),
            repr({"descr": rng.choice(kinds), "fortran_order": True, "shape": shape}),
            repr({"descr": "<f8", "shape": shape}),
            *(
                "[" * 5000,
                "(" * 200 + ")" * 200,
                "{",
                "",
                "1L",
                "{'descr': ",
                "'" * 3,
                "\0",
                "-" * 9000,
            ),
            damaged(rng, content[10 : 10 + length]).decode("latin-1"),
        )
    ).encode("latin-1", "replace")[:65_000]
    version = rng.choice((b"\1\0", b"\2\0", b"\3\0", b"\4\0", b"\xff\xff"))
    width = 2 if version == b"\1\0" else 4
    said = rng.choice((len(text), len(text), len(text), rng.choice(NUMBERS))) % 256**width
    start = content[:6] + version + said.to_bytes(width, "little") + text
    return start + content[10 + length :]


def edited_parquet(rng: random.Random, content: bytes) -> bytes:
    """A column is of another type, has empty cells, is missing, or is there twice."""
    if rng.random() < 0.5:
        return damaged(rng, content)
    table = pq.read_table(io.BytesIO(content))
    arrays = [column.combine_chunks() for column in table.columns]
    names = list(table.column_names)
    at = rng.randrange(len(names))
    kind = rng.randrange(5)
    if kind < 3:
        arrays[at] = _other_column(rng, table.num_rows)
    elif kind == 3:
        del arrays[at], names[at]
    else:
        names[at] = rng.choice((*names, "", "x\0y", "é", "__index_level_0__"))
    out = io.BytesIO()
    compression = rng.choice(("none", "zstd", "gzip", "snappy"))
    try:
        pq.write_table(pa.Table.from_arrays(arrays, names), out, compression=compression)
    except pa.ArrowException:  # Parquet has no such type or value
        return damaged(rng, content)
    return out.getvalue() if rng.random() < 0.8 else damaged(rng, out.getvalue())


def _other_column(rng: random.Random, rows: int) -> Any:
    if not rows:
        return pa.array([], pa.string())
    text = rng.choice(NAMES).encode("utf-8", "replace").decode()
    number = rng.choice([n for n in NUMBERS if -(2**63) <= n < 2**63])
    choices: tuple[Callable[[], Any], ...] = (
        lambda: pa.array([text] * rows),
        lambda: pa.array([number] * rows, pa.int64()),
        lambda: pa.array([number % 2**31] * rows, pa.int32()),
        lambda: pa.array([None] * rows, pa.string()),
        lambda: pa.array([None] * rows, pa.null()),
        lambda: pa.array([[text, None]] * rows),
        lambda: pa.array([[number]] * rows),
        lambda: pa.array([[number % 2**31] * 3] * rows, pa.list_(pa.int32())),
        lambda: pa.array([{"a": text}] * rows),
        lambda: pa.array([[("k", 1)]] * rows, pa.map_(pa.string(), pa.int64())),
        lambda: pa.array([number] * rows, pa.timestamp("ns")),
        lambda: pa.array([number] * rows, pa.duration("s")),
        lambda: pa.array([number] * rows, pa.timestamp("s", "Europe/Berlin")),
        lambda: pa.array([number] * rows, pa.time64("us")),
        lambda: pa.array([number % 2**31] * rows, pa.date32()),
        lambda: pa.array([b"\xff\0"] * rows),
        lambda: pa.array([b"\xff\0"] * rows, pa.binary()).view(pa.string()),
        lambda: pa.array([float("nan")] * rows),
        lambda: pa.array([1] * rows, pa.decimal128(38, 10)),
        lambda: pa.array([text] * rows).dictionary_encode(),
        lambda: pa.array([True, None] * rows)[:rows],
    )
    return rng.choice(choices)()
