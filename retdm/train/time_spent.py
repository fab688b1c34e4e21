"""Where the time of a whole run went, and how fast it trained.

Attempts add up by way of checkpoints, with the clock of `Run`. So two things are not in it: what
passed between an attempt's last checkpoint and its death, and the start-up of each attempt.
"""

import math
from collections.abc import Iterable, Mapping
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

_OF_STEPS = ("data_wait", "compute", "communication")


def mean_seconds(clock: Clock) -> dict[Part, float]:
    """By part, the mean over ranks; every rank calls this."""
    spent = clock.seconds()
    row = torch.tensor([spent[part] for part in PARTS], dtype=torch.float64)
    mean = comm.all_sum(row) / comm.world_size()
    return dict(zip(PARTS, mean.tolist(), strict=True))


def time_spent(seconds: Mapping[Part, float], history: Epochs) -> dict[str, Any]:
    """What a result says of it.

    Args:
        seconds: Of a mean worker, by part.
        history: Finished epochs, of which those that the run took over from another do not count.

    Returns:
        `clock`: whose seconds these are, see `retdm.methods.clock`; `seconds` by part; `share` of
        all of them by what they were for; `efficiency_at_most`, the part of the steps' time
        (waiting for data, compute, communication) that is not communication: all that one run
        can know of its scaling efficiency, see below; `images_per_s` of all workers while they
        trained, validation and ends of epochs aside, and `images_per_s_per_worker`, with as many
        workers as each epoch ended with; 0 where no epoch tells.

    Scaling efficiency is the speed of one of many workers over that of a worker alone. The one
    alone exchanges nothing, and spends what a step costs once on more images; so the efficiency
    is at most the part that is not communication. What a GPU exchanges behind its backward pass
    is hidden from the host, and rightly so.
    """
    total = sum(seconds.values())
    by_group = {group: sum(seconds[part] for part in parts) for group, parts in _GROUPS.items()}
    stepping = sum(by_group[group] for group in _OF_STEPS)
    waiting = by_group["communication"] / stepping if stepping else 0.0
    own = [entry for entry in history if entry["rank_score"] >= 0]
    # A stranger's checkpoint need not have these.
    speeds = [entry.get("images_per_s", 0.0) for entry in own]
    workers = [max(entry.get("workers", math.inf), 1) for entry in own]
    of_one = (speed / number for speed, number in zip(speeds, workers, strict=True))
    return {
        "clock": "host",
        "seconds": {part: round(spent, 3) for part, spent in seconds.items()},
        "efficiency_at_most": round(1 - waiting, 4),
        "share": {group: round(spent / total, 4) for group, spent in by_group.items()},
        "images_per_s": round(_mean(speeds), 3),
        "images_per_s_per_worker": round(_mean(of_one), 3),
    }


def _mean(speeds: Iterable[float]) -> float:
    """Of epochs of one size, so that it is all images by all seconds."""
    known = [speed for speed in speeds if 0 < speed < math.inf]
    return len(known) / sum(1 / speed for speed in known) if known else 0.0
