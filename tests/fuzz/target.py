"""One reader under fuzz: what it reads when all is well, and how that is damaged."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutation import Mutator

Reader = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """A reader of files that may come from strangers."""

    prepare: Callable[[Path], tuple[list[bytes], Reader]]
    """Given an empty folder: sound inputs, and the reader."""
    mutate: Mutator
    peak_bytes: int = 256 << 20
    """Most memory for one input of a few kilobytes."""
