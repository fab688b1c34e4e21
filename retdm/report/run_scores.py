"""The scores that a page of runs is drawn from: computed by the model, or read from a file."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retdm.config import Config, DataSettings, parse
from retdm.console import progress
from retdm.data.plan import num_batches
from retdm.data.split import SplitData, open_split
from retdm.errors import RetdmError
from retdm.evaluation.fitted import Thresholds
from retdm.evaluation.inputs import ScoresError
from retdm.evaluation.npz import read_npz
from retdm.evaluation.score_file import parse_scores
from retdm.report.run_files import RunFiles
from retdm.report.score_figures import Scored
from retdm.storage import open_file
from retdm.train.evaluated import Evaluated, evaluate_run
from retdm.train.thresholds import fitted_thresholds


@dataclass(frozen=True, eq=False)
class SplitScores:
    """Of one run."""

    scored: Scored
    split: str
    source: str
    """Where they come from, as a sentence ends."""
    settings: DataSettings
    rows: npt.NDArray[np.int64]
    """Of each image in the split's label table."""
    data: SplitData | None
    """None if it is not at hand; `why` says why."""
    why: str
    found: Evaluated | None
    """None for scores from a file."""
    fitted: Thresholds | None
    """The run's, of the checkpoint that scored; None for a file, which does not say which one."""


def by_model(run: RunFiles, *, data_url: str, split: str) -> SplitScores:
    """Those of the run's best checkpoint; shows progress.

    Raises:
        RetdmError: As of `evaluate_run`.
    """

    def begin(data: SplitData, config: Config) -> Callable[[], None]:
        batches = num_batches(len(data), config.data.batch_size)
        bar = progress(range(batches), total=batches, label=f"{run.name}: {split}", unit="batch")
        next(bar)
        return lambda: _step(bar)

    found = evaluate_run(run.store, data_url=data_url, split=split, begin=begin)
    names = found.data.label_space.names
    scored = Scored(run.name, names, found.scores, found.targets, found.config.run.threshold)
    source = f"the checkpoint {found.checkpoint}"
    fitted = fitted_thresholds(run.store, names, checkpoint=found.checkpoint)
    settings = found.config.data
    return SplitScores(scored, split, source, settings, found.rows, found.data, "", found, fitted)


def _step(bar: Iterator[int]) -> None:
    next(bar, None)


def from_file(run: RunFiles, url: str, *, data_url: str, split: str) -> SplitScores:
    """Those of a file that `save` or anyone wrote.

    The shard set is opened to find the photos; without it the rest is shown all the same.

    Raises:
        RetdmError: If the file cannot be read, or is of other labels than the run.
    """
    store, name = open_file(url)
    content = store.read(name)
    scores, targets = parse_scores(content, name=url)
    if scores.shape[1] != len(run.labels):
        raise ScoresError(
            f"{url}: scores of {scores.shape[1]} labels, the run {run.name} has "
            f"{len(run.labels)}; give the runs' files in the order of the runs"
        )
    config = parse(Config, dict(run.config), source=f"{run.store.url}")
    scored = Scored(run.name, run.labels, scores, targets, config.run.threshold)
    rows = parse_rows(content, name=url, images=len(targets))
    data, why = None, ""
    try:
        opened = open_split(data_url or config.data.url, split)
        if _fits(rows, targets, opened):
            data = opened
        else:
            why = f"the scores are not of split {split!r} of {opened.url}"
    except RetdmError as error:
        why = str(error)
    source = f"the file {url}"
    return SplitScores(scored, split, source, config.data, rows, data, why, None, None)


def parse_rows(content: bytes, *, name: str, images: int) -> npt.NDArray[Any]:
    """The array `rows` of a score file; without it, the images are those of the table in order.

    Args:
        content: The whole .npz file.
        name: Its path or URL, for the message.
        images: How many it has scores of.

    Raises:
        ScoresError: If the array cannot be read as plain numbers.
    """
    try:
        arrays, _ = read_npz(io.BytesIO(content), only=("rows",))
    except ValueError as error:
        raise ScoresError(
            f"{name}: its array 'rows' cannot be read as plain numbers: {error}; save the images' "
            "rows in the label table as int64, or leave it out"
        ) from error
    return arrays.get("rows", np.arange(images))


def _fits(rows: npt.NDArray[np.int64], targets: npt.NDArray[np.bool_], data: SplitData) -> bool:
    table = data.table.targets
    return (
        rows.dtype.kind in "iu"
        and rows.shape == (len(targets),)
        and targets.shape[1] == table.shape[1]
        and bool(((rows >= 0) & (rows < len(table))).all())
        and bool((table[rows] == targets).all())
    )


def save(scores: SplitScores, url: str) -> None:
    """Write what `from_file` reads, and `python -m retdm.evaluate --scores`."""
    out = io.BytesIO()
    scored = scores.scored
    np.savez_compressed(out, scores=scored.scores, targets=scored.targets, rows=scores.rows)
    store, name = open_file(url)
    store.write(name, out.getvalue())
