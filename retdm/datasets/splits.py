"""Which split a photo belongs to: listed by the annotations, or drawn by a seeded hash.

Keys are ranked by SHA-256(seed, key) and the first ones taken, so shares are exact, and the
result depends on the set of keys and the seed only: not on the order of files, nor on any
library's random generator.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from retdm.config import Settings
from retdm.datasets.record import Record
from retdm.errors import DatasetError


class SplitOptions(Settings):
    """How splits are drawn (`split.*`)."""

    seed: int = Field(default=0, ge=0, description="Seeds the draw and the order in the shards")
    test: float = Field(
        default=0.2, ge=0, lt=1, description="Share of test photos; unused with listed splits"
    )
    val: float = Field(
        default=0.15,
        ge=0,
        lt=1,
        description='Share of the train part set aside for validation; unused if "val" is listed',
    )


def rank(keys: Sequence[str], *, seed: int, purpose: str) -> list[str]:
    """`keys` in an order that only their set, the seed and the purpose decide."""

    def digest(key: str) -> bytes:
        return hashlib.sha256(f"{seed}\n{purpose}\n{key}".encode()).digest()

    return sorted(keys, key=lambda key: (digest(key), key))


def assign_splits(records: Sequence[Record], options: SplitOptions) -> list[Record]:
    """Give every record its split.

    Listed splits stay as they are, and "val" is drawn from "train" unless it is listed.
    Otherwise "test" is drawn from all, then "val" from what is left.

    Returns:
        Records in the given order, `split` set.

    Raises:
        DatasetError: If a drawn split or "train" would have no photo.
    """
    out = list(records)
    if not any(record.split for record in out):
        out = [replace(record, split="train") for record in out]
        out = _draw(out, "test", options.test, options.seed)
    if not any(record.split == "val" for record in out):
        out = _draw(out, "val", options.val, options.seed)
    if not any(record.split == "train" for record in out):
        have = ", ".join(sorted({str(record.split) for record in out}))
        raise DatasetError(f'no photo is in split "train" (there are: {have}); name one so')
    return out


def _draw(records: list[Record], name: str, share: float, seed: int) -> list[Record]:
    """Move `share` of the train part to split `name`."""
    pool = [record.key for record in records if record.split == "train"]
    count = round(share * len(pool))
    if pool and share and not 0 < count < len(pool):
        raise DatasetError(
            f"split.{name} = {share} of {len(pool)} photos is {count}; "
            "every split needs at least one: change the share, or set it to 0"
        )
    chosen = set(rank(pool, seed=seed, purpose=name)[:count])
    return [replace(record, split=name) if record.key in chosen else record for record in records]
