"""Where the time of a whole run went, all its attempts together, and how fast it trained."""

from collections.abc import Mapping
from typing import Any

import torch

from retdm import comm
from retdm.methods import Clock
from retdm.methods.clock import PARTS, Part
from retdm.train.history import Epochs

_GROUPS: Mapping[str, tuple[Part, ...]] = {
    "data_wait": ("data",),
    "compute": ("forward", "mining", "backward", "optimizer", "fit"),
    "communication": ("gather", "exchange"),
    "evaluation": ("evaluation",),
    "checkpoint": ("checkpoint",),
    "other": ("other",),
}


def mean_seconds(clock: Clock) -> dict[Part, float]:
    """By part, the mean over ranks; every rank calls this."""
    spent = clock.seconds()
    row = torch.tensor([spent[part] for part in PARTS], dtype=torch.float64)
    mean = comm.all_sum(row) / comm.world_size()
    return dict(zip(PARTS, mean.tolist(), strict=True))


def time_spent(seconds: Mapping[Part, float], history: Epochs, *, workers: int) -> dict[str, Any]:
    """What a result says of it.

    Args:
        seconds: Of a mean worker, by part.
        history: Finished epochs, of which those that the run took over from another do not count.
        workers: At the end of the run.

    Returns:
        `seconds` by part; `share` of all of them by what they were for; `images_per_s` of all
        workers while they trained, validation and ends of epochs aside, and `per_worker`.
    """
    total = sum(seconds.values())
    own = [entry for entry in history if entry["rank_score"] >= 0]
    # A stranger's checkpoint need not have it.
    speeds = [speed for entry in own if (speed := entry.get("images_per_s", 0)) > 0]
    # Epochs are of one size, so this is all images by all seconds.
    speed = len(speeds) / sum(1 / one for one in speeds) if speeds else 0.0
    return {
        "seconds": {part: round(spent, 3) for part, spent in seconds.items()},
        "share": {
            group: round(sum(seconds[part] for part in parts) / total, 4)
            for group, parts in _GROUPS.items()
        },
        "images_per_s": round(speed, 3),
        "images_per_s_per_worker": round(speed / workers, 3),
    }
