"""Passes a place on to the latest who asks for it, for those who are allowed there one by one.

Unlike `hold`, it refuses nobody: whoever had the place finds out at its next `Claim.check`. That
is for successors of something that is believed to be lost and may still live unseen, cut off from
those who started it, though not from the storage.
"""

import uuid

from retdm.claims.claimant import Claim, Work, sealed, who
from retdm.storage import Store


def succeed(store: Store, work: Work) -> Claim:
    """Take the place over.

    What remains: who was there finishes what it does between two checks.

    Raises:
        StorageError: If the place cannot be written.
    """
    mine = {"token": uuid.uuid4().hex, "holds": True, "beat": 0, **who()}
    name = f"{work.folder}latest"
    store.write(name, sealed(mine))
    return Claim(store, work, name, mine["token"])
