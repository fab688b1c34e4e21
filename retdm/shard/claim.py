"""Who may build at a place: one build at a time, see `retdm.claims`.

On S3 two may still get in, or one that stood still wake up: a build looks again before and after
each tar, and before the manifest is published, and `verify` shows what is mixed nevertheless.
"""

from contextlib import AbstractContextManager

from retdm import claims
from retdm.claims import Claim, Work, hold
from retdm.shard.unfinished import FOLDER
from retdm.storage import Store

_BUILD = Work(
    folder=FOLDER,
    noun="build",
    verb="write",
    option="--out",
    elsewhere="choose another place",
    lockless="build in another folder and copy the shard set",
)


def claim(store: Store) -> AbstractContextManager[Claim]:
    """Hold the right to write shards to `store`; see `hold`."""
    return hold(store, _BUILD)


def is_claim(name: str) -> bool:
    """Whether a file of the destination is a lock or a claim."""
    return claims.is_claim(name, _BUILD)
