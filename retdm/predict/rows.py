"""What is written of each image."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float32
from numpy import ndarray

from retdm.errors import BadSampleError
from retdm.evaluation.fitted import Thresholds
from retdm.predict.scored import Scored
from retdm.predictor.labelling import names, predictions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """One image, with either labels and scores or an error."""

    image: str
    labels: list[str] | None
    """The predicted ones, the best first."""
    scores: Float32[ndarray, " labels"] | None
    error: str | None = None


def rows_of(
    batches: Iterable[Scored],
    labels: Sequence[str],
    thresholds: Thresholds,
    *,
    top: int | None,
    skip_bad: bool,
) -> Iterator[Row]:
    """A row for each image, in order.

    Args:
        batches: Of images.
        labels: In the order of the scores.
        thresholds: A label is predicted from there on.
        top: Predict so many instead, the best.
        skip_bad: Give an image that cannot be used a row that says why, and warn of it.

    Raises:
        BadSampleError: If an image cannot be used, and is not to be skipped.
    """
    for batch in batches:
        predicted = predictions(batch.scores, thresholds, top=top)
        found = names(batch.scores, predicted, labels)
        for row, image in enumerate(batch.images):
            error = batch.bad.get(row)
            if error is None:
                yield Row(image, found[row], batch.scores[row])
            elif skip_bad:
                log.warning("%s", error)
                yield Row(image, None, None, error)
            else:
                raise BadSampleError(f"{error}; or have it listed without scores by --bad skip")
