"""What `python -m retdm.predict` does, from what was asked for to rows."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from retdm import console
from retdm.data.split import SplitData, open_split
from retdm.predict.asked import Asked
from retdm.predict.images import ImageFile, find_images
from retdm.predict.outputs import Outputs, targets
from retdm.predict.rows import Row, rows_of
from retdm.predict.scored import Scored, of_files, of_split, open_split_loader
from retdm.predict.table import line, width_of
from retdm.predictor import Predictor, load

log = logging.getLogger(__name__)


def predict(asked: Asked) -> None:
    """Predict, and write files or print a table.

    Raises:
        RetdmError: If what was asked for cannot be done; then there is no file.
    """
    places = targets(asked.files)
    # Before the model, which takes longer.
    files = find_images(asked.images) if asked.split is None else []
    model = load(asked.model, checkpoint=asked.checkpoint)
    thresholds = model.thresholds(asked.threshold)
    images, batches = _of_split(model, asked) if asked.split else _of_files(model, files, asked)
    skip_bad = asked.bad == "skip"
    rows = rows_of(batches, model.labels, thresholds, top=asked.top, skip_bad=skip_bad)
    if places:
        _write(rows, Outputs(places, model.labels), total=len(images))
    else:
        _show(rows, model, images)


def _of_files(
    model: Predictor, files: Sequence[ImageFile], asked: Asked
) -> tuple[list[str], Iterator[Scored]]:
    size = asked.batch_size or model.config.data.batch_size
    batches = of_files(model, files, batch_size=size, workers=asked.workers)
    return [one.name for one in files], batches


def _of_split(model: Predictor, asked: Asked) -> tuple[list[str], Iterator[Scored]]:
    assert asked.split is not None
    data = open_split(url_of_split(model, asked), asked.split)
    size = asked.batch_size or model.config.data.batch_size
    return list(data.table.keys), _scored(model, data, size, asked.workers)


def _scored(
    model: Predictor, data: SplitData, batch_size: int, workers: int | None
) -> Iterator[Scored]:
    loader = open_split_loader(model, data, batch_size=batch_size, workers=workers)
    with closing(loader):
        yield from of_split(model, loader)


def url_of_split(model: Predictor, asked: Asked) -> str:
    """Of the shard set that `--split` is of: the one that is given, or the run's own."""
    return asked.images[0] if asked.images else model.config.data.url


def _show(rows: Iterator[Row], model: Predictor, images: Sequence[str]) -> None:
    width = width_of(images)
    for row in rows:
        print(line(row, model.labels, width=width), flush=True)


def _write(rows: Iterator[Row], outputs: Outputs, *, total: int) -> None:
    begun, bad = time.monotonic(), 0
    with outputs:
        for row in console.progress(rows, total=total, label="predicting", unit="image"):
            outputs.write(row)
            bad += row.error is not None
    log.info("%s", told(total, bad, time.monotonic() - begun))


def told(images: int, bad: int, seconds: float) -> str:
    """What was done, in a line.

    Example:
        >>> told(10, 1, 4.0)
        '10 images, 1 of them bad, 2.5 a second'
    """
    without = f", {bad} of them bad" if bad else ""
    return f"{console.counted(images, 'image')}{without}, {images / seconds:.1f} a second"
