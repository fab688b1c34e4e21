"""One program at a time writes to a place: a lock in a folder, an announcement on S3."""

from retdm.claims.announce import rivals
from retdm.claims.claimant import Claim, Work
from retdm.claims.lock import hold, is_claim
from retdm.claims.succession import succeed

__all__ = ["Claim", "Work", "hold", "is_claim", "rivals", "succeed"]
