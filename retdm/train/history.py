"""Which checkpoints a run has and which one is best, published beside them as one small file."""

import json
import math
from typing import Any

from retdm.errors import CheckpointError, NotFoundError
from retdm.evaluation import strict_json
from retdm.storage import Store

INDEX = "checkpoints.json"


def rank_score(stage: int, metric: float) -> float:
    """Order of checkpoints: a later stage first, then the validation metric in [0, 1].

    Without the stage, the best checkpoint of a RETDM run could be one of stage 1, which is
    plain BCE. A metric that is undefined counts as 0.
    """
    return stage + (metric if math.isfinite(metric) else 0.0)


def best(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The epoch with the highest `rank_score`; among equals the latest, as Ray Train keeps."""
    return max(enumerate(history), key=lambda item: (item[1]["rank_score"], item[0]))[1]


def publish(store: Store, history: list[dict[str, Any]]) -> None:
    """Write the index after the checkpoints it names are on storage."""
    if not history:
        return
    index = {"latest": history[-1]["checkpoint"], "best": best(history)["checkpoint"]}
    store.write(INDEX, strict_json({**index, "history": history}))


def checkpoint_name(store: Store, which: str) -> str:
    """Folder name of the run's "best" or "latest" checkpoint.

    Raises:
        CheckpointError: If the run has no checkpoint yet.
    """
    try:
        return str(json.loads(store.read(INDEX))[which])
    except NotFoundError:
        raise CheckpointError(
            f"{store.url}: no {INDEX}, so there is no trained run here; "
            "check the URL, or train it with `python jobs/train.py RECIPE --storage ... "
            "--run-name ...`"
        ) from None


def reached(store: Store) -> tuple[str, int]:
    """Stage of the run's latest checkpoint and how many of its epochs are done; ("", 0): none."""
    if store.size(INDEX) is None:
        return "", 0
    last = json.loads(store.read(INDEX))["history"][-1]
    return str(last["stage"]), int(last["epoch"])
