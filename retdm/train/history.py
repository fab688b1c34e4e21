"""Which checkpoints a run has and which one is best, published beside them as one small file."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

from retdm.errors import CheckpointError, NotFoundError
from retdm.evaluation import strict_json
from retdm.storage import Store
from retdm.train.run_file import read_checked

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


def best(history: Epochs, kept: Sequence[Kept]) -> dict[str, Any]:
    """The epoch with the highest `rank_score` among those whose checkpoints are there.

    Raises:
        CheckpointError: If none is.
    """
    if present := _present(history, kept):
        return ranked(present)[0]
    raise CheckpointError(
        "none of the run's finished epochs has a checkpoint; train it again under another "
        "--run-name"
    )


def _present(history: Epochs, kept: Sequence[Kept]) -> Epochs:
    """Without epochs of a run that this one started from, and those whose checkpoints are lost."""
    names = {one.name for one in kept}
    return [entry for entry in history if entry["checkpoint"] in names]


def retain(kept: Sequence[Kept], history: Epochs, *, keep_best: int) -> list[Kept]:
    """The checkpoints to keep, in their order: newest and the one before, last epoch, best ones.

    The one before the newest is what a run goes back to if the newest turns out damaged; what were
    the best ones then is kept as well.

    Args:
        kept: All there are, oldest first.
        history: Finished epochs.
        keep_best: How many of the best epochs' checkpoints to keep.
    """
    wanted = {one.name for one in kept[-2:]}
    for until in kept[-2:]:
        past = [entry for entry in _present(history, kept) if entry["step"] <= until.step]
        wanted |= {entry["checkpoint"] for entry in [*past[-1:], *ranked(past)[:keep_best]]}
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
    present = _present(history, kept)
    index = {
        "latest": present[-1]["checkpoint"] if present else None,
        "best": best(present, kept)["checkpoint"] if present else None,
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
    return index["kept"] if index else []


def finished_epochs(store: Store) -> Epochs:
    """The run's epochs that have checkpoints; none if it has no index.

    Raises:
        CheckpointError: If the index is not one.
    """
    index = _read(store)
    return index["history"] if index else []


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
    if not index or not index["kept"]:
        return "", 0
    newest: Kept = index["kept"][-1]
    return newest.stage, newest.epoch + (newest.next_batch > 0)


class _Index(BaseModel):
    latest: str | None
    best: str | None
    kept: list[Kept] | None = None
    history: list[Any]


_KEPT = TypeAdapter(list[Kept])
"""Entries as they were checked: what a later version adds to them is left out."""


def _read(store: Store) -> dict[str, Any]:
    """The index with its `kept` as such; empty if there is none."""
    try:
        index = read_checked(store, INDEX, _Index, what="an index of checkpoints")
    except NotFoundError:
        return {}
    if index.get("kept") is None:
        raise CheckpointError(
            f"{store.url}: a run of an earlier version of retdm, whose checkpoints this one does "
            "not read; use another --run-name"
        )
    return {**index, "kept": _KEPT.validate_python(index["kept"])}
