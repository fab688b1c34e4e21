"""Which checkpoints a run has and which one is best, published beside them as one small file."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from retdm.errors import CheckpointError, NotFoundError
from retdm.evaluation import strict_json
from retdm.storage import Store

INDEX = "checkpoints.json"
Epochs = list[dict[str, Any]]
"""One table for each finished epoch: where it stands in the run, its losses and metrics."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint that is whole on storage."""

    name: str
    stage: str
    epoch: int
    """Epochs of the stage that are done."""
    next_batch: int
    """0 for one at the end of an epoch."""
    step: int
    sha256: str
    """Of its file."""


def rank_score(stage: int, metric: float) -> float:
    """Order of checkpoints: a later stage first, then the validation metric in [0, 1].

    Without the stage, the best checkpoint of a RETDM run could be one of stage 1, which is
    plain BCE. A metric that is undefined counts as 0.
    """
    return stage + (metric if math.isfinite(metric) else 0.0)


def ranked(history: Epochs) -> Epochs:
    """The epochs by `rank_score`, best first; among equals the latest first."""
    order = sorted(enumerate(history), key=lambda item: (-item[1]["rank_score"], -item[0]))
    return [entry for _, entry in order]


def best(history: Epochs) -> dict[str, Any]:
    """The epoch with the highest `rank_score`."""
    return ranked(history)[0]


def retain(kept: Sequence[Kept], history: Epochs, *, keep_best: int) -> list[Kept]:
    """The checkpoints to keep, in their order: newest and the one before, last epoch, best ones.

    The one before the newest is what a run goes back to if the newest turns out damaged.

    Args:
        kept: All there are, oldest first.
        history: Finished epochs.
        keep_best: How many of the best epochs' checkpoints to keep.
    """
    wanted = {one.name for one in kept[-2:]}
    if history:
        wanted |= {history[-1]["checkpoint"]}
        wanted |= {entry["checkpoint"] for entry in ranked(history)[:keep_best]}
    return [one for one in kept if one.name in wanted]


def publish(store: Store, history: Epochs, kept: Sequence[Kept]) -> None:
    """Write the index after the checkpoints it names are on storage, if there is anything to tell.

    Args:
        store: Folder of the run.
        history: Finished epochs whose checkpoints are there.
        kept: All checkpoints that are there, oldest first.
    """
    if not history and not kept:
        return
    index = {
        "latest": history[-1]["checkpoint"] if history else None,
        "best": best(history)["checkpoint"] if history else None,
        "history": history,
        "kept": [asdict(one) for one in kept],
    }
    store.write(INDEX, strict_json(index))


def kept_checkpoints(store: Store) -> list[Kept]:
    """The run's checkpoints, oldest first; none if it has no index.

    Raises:
        CheckpointError: If the index is not one.
    """
    index = _read(store)
    names = {field.name for field in fields(Kept)}
    entries = index.get("kept", []) if isinstance(index, dict) else None
    if not isinstance(entries, list) or any(
        not isinstance(entry, dict) or set(entry) != names for entry in entries
    ):
        raise CheckpointError(f"{store.url}/{INDEX}: not an index of checkpoints; remove the run")
    return [Kept(**entry) for entry in entries]


def checkpoint_name(store: Store, which: str) -> str:
    """Name of the checkpoint of the run's "best" or "latest" finished epoch.

    Raises:
        CheckpointError: If the run has none yet.
    """
    index = _read(store)
    if not index:
        raise CheckpointError(
            f"{store.url}: no {INDEX}, so there is no trained run here; "
            "check the URL, or train it with `python jobs/train.py RECIPE --storage ... "
            "--run-name ...`"
        )
    if index[which] is None:
        raise CheckpointError(
            f"{store.url}: this run has not finished an epoch yet; let it go on by the same "
            "`python jobs/train.py` command"
        )
    return str(index[which])


def reached(store: Store) -> tuple[str, int]:
    """Stage of the run's newest checkpoint and its epochs that are begun; ("", 0): none."""
    index = _read(store)
    if not index:
        return "", 0
    if newest := index.get("kept", [])[-1:]:
        return str(newest[0]["stage"]), int(newest[0]["epoch"]) + (newest[0]["next_batch"] > 0)
    last = index["history"][-1]
    return str(last["stage"]), int(last["epoch"])


def _read(store: Store) -> Any:
    try:
        return json.loads(store.read(INDEX))
    except NotFoundError:
        return {}
    except ValueError as error:
        raise CheckpointError(
            f"{store.url}/{INDEX}: not JSON ({error}); remove the run, or restore the file"
        ) from None
