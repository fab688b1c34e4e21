"""The thresholds that a finished run has fitted on its validation split, one for each label."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from retdm.errors import CheckpointError, NotFoundError
from retdm.evaluation.fitted import Thresholds
from retdm.storage import Store
from retdm.train.run_file import read_checked


class _Result(BaseModel):
    thresholds: dict[str, float] = {}
    checkpoint: str = ""


def fitted_thresholds(
    store: Store, labels: Sequence[str], *, checkpoint: str
) -> Thresholds | None:
    """Those of a run's result, in the order of `labels`.

    Args:
        store: The run's folder.
        labels: Names in the order of the scores' columns.
        checkpoint: Name of the one whose scores are to be compared with them.

    Returns:
        None for a run without a result, and for a checkpoint that they were not fitted to.

    Raises:
        CheckpointError: If the result is damaged, or lacks a label.
    """
    try:
        found = read_checked(store, "result.json", _Result, what="the result of a run")
    except NotFoundError:
        return None
    thresholds = found.get("thresholds", {})
    if not thresholds or found.get("checkpoint", checkpoint) != checkpoint:
        return None
    if missing := [label for label in labels if label not in thresholds]:
        raise CheckpointError(
            f"{store.url}/result.json: no threshold for label {missing[0]!r}; restore the file"
        )
    return np.array([thresholds[label] for label in labels])
