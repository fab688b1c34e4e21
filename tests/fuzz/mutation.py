"""Turns files that are as they should be into files that are not, reproducibly.

Every mutator takes a random generator and the content of a sound file, and returns another
content. What a reader checks first (checksums of tars, zips and PNGs) is put right again where the
damage is to get past it.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Mutator = Callable[[random.Random, bytes], bytes]

NUMBERS = (
    *(0, 1, 2, -1, -2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, -(2**31)),
    *(2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**64, 10**30),
)
"""Where sizes, counts and offsets of some width end."""

NAMES = (
    *("", ".", "..", "/", "../../etc/passwd", "..\\..\\x", "/etc/passwd", "C:\\x.jpg", "C:x.jpg"),
    *("a\0b", "a\nb", "\ufeff", "\ud800", "x" * 300, "x/" * 300, "con", "é" * 200, " ", "%00"),
    *("file:///etc/passwd", "s3://b/x", "-rf", "~root", "a\u202eb", "__proto__", "nan"),
)
"""Names that lead elsewhere, or that some file system or encoding cannot bear."""


@dataclass(frozen=True)
class Raw:
    """Text that stands in a JSON file as it is."""

    text: str


VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], [None], {"": None}, 0.5, -0.0, 1e308),
    *NUMBERS,
    *NAMES,
    *map(Raw, ("NaN", "Infinity", "-Infinity", "1e999", "-0", "1E400", "01", "'x'", "", "nul")),
    *(Raw("[" * 3000 + "]" * 3000), Raw('{"a":' * 3000 + "1" + "}" * 3000), Raw("[" * 100_000)),
    *(Raw("9" * 5000), Raw("-" + "9" * 5000), Raw("1." + "9" * 5000), Raw('"\\ud800"')),
    *(Raw('{"a": 1, "a": 2}'), Raw('"' + "x" * 100_000 + '"'), Raw('"\\u0000"')),
)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Some bytes are other ones, are missing, or are there twice."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        _damage(rng, out)
    return bytes(out)


def _damage(rng: random.Random, out: bytearray) -> None:
    at = rng.randrange(len(out) + 1)
    length = rng.choice((1, 2, 4, 8, 16, 64, 512, 4096))
    kind = rng.randrange(8)
    if kind == 0 and at < len(out):
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        out[at : at + 1] = bytes([rng.randrange(256)])
    elif kind == 2:
        del out[at:]
    elif kind == 3:
        del out[at : at + length]
    elif kind == 4:
        out[at:at] = out[at : at + length] * rng.choice((1, 1, 2, 100))
    elif kind == 5:
        other = rng.randrange(len(out) + 1)
        out[at : at + length] = out[other : other + length]
    elif kind == 6:
        number = rng.choice(NUMBERS) % 2**64
        size = rng.choice((1, 2, 4, 8))
        order = rng.choice(("big", "little"))
        out[at : at + size] = (number % 256**size).to_bytes(size, order)
    else:
        out[at : at + length] = bytes([rng.choice((0, 0xFF, 0x20))]) * length


def other_encoding(rng: random.Random, content: bytes) -> bytes:
    """Text in an encoding that is not expected, or with a mark of one."""
    text = content.decode(errors="replace")
    kind = rng.randrange(6)
    if kind == 0:
        return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32")))
    if kind == 1:
        return b"\xef\xbb\xbf" + content
    if kind == 2:
        return content.replace(b"e", b"\xe9")
    if kind == 3:
        return content.replace(b"\n", rng.choice((b"\r", b"\r\n", b"\n\n", b"\0", b"\x85", b" ")))
    if kind == 4:
        return content + rng.choice((b"\0", b"\xff", b"\x1a", b"\n" * 1000, content))
    return content.replace(b'"', rng.choice((b"'", b"\xe2\x80\x9c", b"")), 1)


def edited_json(rng: random.Random, content: bytes) -> bytes:
    """Values, keys or rows of a JSON file are other ones, are missing, or are there twice."""
    tree = _pairs(json.loads(content))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _edit(rng, tree)
    return _text(tree).encode("utf-8", "surrogatepass")


def edited_table(rng: random.Random, table: dict[str, Any]) -> dict[str, Any]:
    """As `edited_json`, of a table that also holds what JSON does not; that is replaced whole."""
    tree = _pairs(table)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _edit(rng, tree)
    edited: dict[str, Any] = _plain(tree)
    return edited


Pairs = list[tuple[str, Any]]


@dataclass
class _Object:
    """A JSON object as it stands in a file, where a key may be there twice."""

    pairs: Pairs


def _pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return _Object([(key, _pairs(item)) for key, item in value.items()])
    return [_pairs(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, _Object):
        return {key: _plain(item) for key, item in value.pairs}
    if isinstance(value, Raw):
        return value.text
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _edit(rng: random.Random, tree: Any) -> None:
    rows: list[Any] = [node for node in _nodes(tree) if _rows(node)]
    if not rows:
        return
    items = _rows(rng.choice(rows))
    at = rng.randrange(len(items))
    is_pair = isinstance(items[at], tuple)
    key, value = items[at] if is_pair else ("", items[at])
    kind = rng.randrange(7)
    new = value
    if kind < 4:
        new = _other_value(rng, value)
    elif kind == 4:
        del items[at]
        return
    elif kind == 5:
        items.insert(
            at, (key, rng.choice((value, _other_value(rng, value)))) if is_pair else value
        )
        return
    else:
        key = rng.choice((*NAMES, f"{key}x"))
    items[at] = (key, new) if is_pair else new


def _other_value(rng: random.Random, value: Any) -> Any:
    # Mostly of the same kind: the first check of a type would hide all later ones.
    if rng.random() < 0.5:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return rng.choice((*NUMBERS, value + 1, -value, float(value), str(value)))
        if isinstance(value, str):
            return rng.choice((*NAMES, value + "x", value[:-1], value.upper(), value + "\0"))
        if isinstance(value, list):
            return rng.choice((value[:-1], value + value, value * 50, [value]))
    return rng.choice(VALUES)


def _rows(node: Any) -> list[Any]:
    return node.pairs if isinstance(node, _Object) else node


def _nodes(tree: Any) -> list[Any]:
    """All objects and lists in a tree."""
    found, left = [], [tree]
    while left:
        node = left.pop()
        if isinstance(node, _Object | list):
            found.append(node)
            left += [item[1] if isinstance(item, tuple) else item for item in _rows(node)]
    return found


def _text(value: Any) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, _Object):
        pairs = [f"{json.dumps(key)}: {_text(item)}" for key, item in value.pairs]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, dict):
        return _text(_pairs(value))
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return json.dumps(value)


TOML_VALUES = (
    *('""', "''", "true", "nan", "inf", "-inf", "1e400", "[]", "{}", "[[]]", "{a = 1, a = 2}"),
    *(f"{number}" for number in NUMBERS),
    *("9" * 5000, "0x" + "f" * 5000, "0b" + "1" * 20_000, "1979-05-27T07:32:00Z", "1.5", "0.0"),
    *("[" * 3000 + "]" * 3000, "{a=" * 3000 + "1" + "}" * 3000, '"' + "x" * 100_000 + '"'),
    *(json.dumps(name) for name in NAMES),
    *('"""a', "'''", '"\\q"', "=", "[", "1_", "07:32:00", "0o7", "*", "\0", "-" * 100),
)


def edited_toml(rng: random.Random, content: bytes) -> bytes:
    """Some values, keys and tables of a TOML file are other ones."""
    lines = content.decode().split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        key, equals, value = lines[at].partition("=")
        kind = rng.randrange(6)
        if kind < 3 and equals:
            lines[at] = f"{key}= {rng.choice((*TOML_VALUES, value, value + value))}"
        elif kind == 3:
            lines.insert(at, rng.choice(lines))
        elif kind == 4:
            names = (
                "a." * 3000 + "a",
                "[" + "a." * 3000 + "a]",
                "[[x]]",
                "[options]",
                "a.b",
                '""',
            )
            words = (*names, *(json.dumps(name) for name in NAMES), key, "stages", "data.url.x")
            lines.insert(at, f"{rng.choice(words)} = {rng.choice(TOML_VALUES)}")
        elif equals:
            lines[at] = f"{rng.choice((key.strip() + 'x', key.upper(), ''))} = {value}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


WORDS = (
    *(str(number) for number in NUMBERS),
    *NAMES,
    *(
        "9" * 5000,
        "1_0",
        "+1",
        "0x1",
        "1e3",
        "\u0661",
        "\u00b2",
        "-0",
        "1" * 400,
        '"',
        '"a',
        "x" * 200_000,
    ),
    *(",", ";", "\t", "|", "\0", "1.0", "True", "yes", "nan", "inf", "''", "#", "=cmd()"),
)


def edited_words(rng: random.Random, content: bytes) -> bytes:
    """Some words of a text file are other ones; lines are missing or there twice."""
    parts = re.split(r"([\s,;]+)", content.decode())
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(parts))
        kind = rng.randrange(5)
        if kind < 3:
            parts[at] = rng.choice((*WORDS, *parts))
        elif kind == 3:
            del parts[at : at + rng.choice((1, 2, 3))]
            parts = parts or [""]
        else:
            parts[at:at] = parts[max(at - 4, 0) : at] * rng.choice((1, 2, 200))
    return "".join(parts).encode("utf-8", "surrogatepass")


def one_of(*mutators: Mutator) -> Mutator:
    """Each time another of these."""

    def mutate(rng: random.Random, content: bytes) -> bytes:
        return rng.choice(mutators)(rng, content)

    return mutate


def spliced(rng: random.Random, contents: Sequence[bytes]) -> bytes:
    """The head of one file and the tail of another."""
    one, two = rng.choice(contents), rng.choice(contents)
    return one[: rng.randrange(len(one) + 1)] + two[rng.randrange(len(two) + 1) :]
