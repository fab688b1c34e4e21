"""The offset index of one tar: where each sample's files begin and how long they are.

The text format is that of DALI's `wds2idx`, so that DALI can read the same shards: a line
"v1.2 N", then one line a sample with "EXT OFFSET SIZE NAME" for each of its files. Offsets are
those of the data, behind the tar header, in bytes from the start of the tar.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from retdm.errors import ShardError

_VERSION = "v1.2"


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a tar."""

    ext: str
    """Without the dot; what follows the first dot of the name."""
    offset: int
    """Of the first data byte."""
    size: int
    name: str
    """As in the tar, for example "photo-17.jpg"."""


def format_index(samples: Sequence[tuple[Member, ...]]) -> bytes:
    r"""The index file of these samples, in the order given.

    Raises:
        ShardError: If a name is empty or has white space in it, which the format cannot carry.

    Example:
        >>> format_index([(Member("jpg", 512, 20, "a.jpg"), Member("json", 1536, 2, "a.json"))])
        b'v1.2 1\njpg 512 20 a.jpg json 1536 2 a.json\n'
    """
    lines = [f"{_VERSION} {len(samples)}"]
    for sample in samples:
        for member in sample:
            if len(member.name.split()) != 1 or len(member.ext.split()) != 1:
                raise ShardError(
                    f"file name {member.name!r} cannot stand in an offset index; use a name "
                    "with an extension and without white space"
                )
        lines.append(" ".join(f"{m.ext} {m.offset} {m.size} {m.name}" for m in sample))
    return ("\n".join(lines) + "\n").encode()


def parse_index(content: bytes, *, name: str) -> list[tuple[Member, ...]]:
    """Read an index file back; `name` opens the error.

    Raises:
        ShardError: If it is not such a file, was cut short, or has impossible numbers.
    """
    try:
        lines = content.decode().split("\n")
        version, count = lines[0].split()
        if version != _VERSION or lines[-1] or len(lines) - 2 != int(count):
            raise ValueError(f"{len(lines) - 2} lines under the header {lines[0]!r}")
        return [_parse_sample(line.split(" ")) for line in lines[1:-1]]
    except ValueError as error:
        raise ShardError(
            f"{name}: not a whole offset index ({error}); rebuild the shard set"
        ) from None


def _parse_sample(words: list[str]) -> tuple[Member, ...]:
    if len(words) % 4:
        raise ValueError(f"{len(words)} words in the line of {words[-1]!r}")
    sample = tuple(
        Member(ext=words[i], offset=int(words[i + 1]), size=int(words[i + 2]), name=words[i + 3])
        for i in range(0, len(words), 4)
    )
    if any(member.offset < 0 or member.size < 0 for member in sample):
        raise ValueError(f"a negative number in the line of {words[-1]!r}")
    return sample
