"""What `python -m retdm.predict --ray` does: parts of the images to parts of the rows.

The driver holds the names of the images (about 0.4 kB each where names have 50 characters, and
0.1 kB in Ray's object store; of a split its label table) and counts what is done. Images are read,
and rows written, where they are scored.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from retdm import __version__, console
from retdm.claims import hold
from retdm.console import Failed
from retdm.data.split import open_split
from retdm.errors import BadSampleError, ConfigError
from retdm.predict.asked import Asked
from retdm.predict.cut import Part, cut_files, cut_split
from retdm.predict.images import ImageFile, find_images
from retdm.predict.parts import (
    SUCCESS,
    WORK,
    Counts,
    Plan,
    begin,
    complete,
    file_of,
    finished,
)
from retdm.predict.program import told, url_of_split
from retdm.predict.scorer import Scorer, Scoring, Step, Task
from retdm.predictor import load
from retdm.storage import Store, open_store
from retdm.storage.file import FileStore
from retdm.storage.place import refuse_file

if TYPE_CHECKING:
    from retdm.onray.actors import Share

log = logging.getLogger(__name__)
_PART_SIZE = 10_000
_LESS = "fewer --actors, lower --workers or --batch-size"


def predict_in_parts(asked: Asked) -> None:
    """Predict on a Ray cluster, and write the parts that are missing.

    Raises:
        RetdmError: If what was asked for cannot be done; finished parts stay.
        Failed: If the processes that had a part were lost again and again, or an error with them.
        Stopped: After SIGTERM or Ctrl-C; finished parts stay.
    """
    ((kind, url),) = asked.files.items()
    store = open_store(url)
    refuse_file(store, given=f"--{kind} {url}")
    # Before the model, which takes longer.
    files = find_images(asked.images) if asked.split is None else []
    model = load(asked.model, checkpoint=asked.checkpoint, device="cpu")
    size = asked.batch_size or model.config.data.batch_size
    part_size = asked.part_size or _PART_SIZE
    split = None
    if asked.split is None:
        parts = cut_files(len(files), part_size=part_size, batch_size=size)
        digest = _digest(files)
    else:
        data = open_split(url_of_split(model, asked), asked.split)
        split = data.url, data.split
        parts = cut_split(data.shard_sizes, part_size=part_size, batch_size=size)
        digest = hashlib.sha256(f"{data.digest} {data.split}".encode()).hexdigest()
    plan = Plan(
        kind=kind,
        model=model.digest,
        checkpoint=model.origin.checkpoint,
        images=digest,
        rows=parts[-1].last,
        parts=len(parts),
        part_size=part_size,
        batch_size=size,
        thresholds=tuple(model.thresholds(asked.threshold).tolist()),
        top=asked.top,
        torch=str(torch.__version__),
        retdm=__version__,
    )
    with hold(store, WORK) as held:
        plan = begin(store, plan)
        scoring = Scoring(
            model=model.origin.url,
            checkpoint=asked.checkpoint,
            plan=plan,
            held=held,
            split=split,
            skip_bad=asked.bad == "skip",
            workers=asked.workers,
        )
        del model
        _score(scoring, parts, files, asked.actors)


def _score(
    scoring: Scoring, parts: Sequence[Part], files: Sequence[ImageFile], actors: int | None
) -> None:
    store, plan = scoring.held.store, scoring.plan
    if isinstance(store, FileStore):
        store.sweep()
    done = finished(store, plan, parts)
    missing = [part for part in parts if part.number not in done]
    if done:
        log.info("%s: %d of %d parts are there already", store.url, len(done), len(parts))
    if missing:
        store.delete(SUCCESS)  # of an output of which parts were removed
        # Importing Ray takes seconds, which a finished output need not wait for.
        from retdm.onray.actors import machines, run_actors, share_out
        from retdm.onray.heeding import heeding_signals
        from retdm.onray.joining import joined

        with (
            _can_go_on(store, done, len(parts)),
            joined(logging_level=logging.WARNING),
            heeding_signals(),
        ):
            share = share_out(machines(), actors)
            plan = begin(store, plan.model_copy(update={"device": _device(share)}))
            log.info("%s", _described(share, len(missing)))
            tasks = (Task(part, tuple(files[part.first : part.last])) for part in missing)
            make = partial(make_scorer, replace(scoring, plan=plan))
            with closing(run_actors(make, tasks, share, less=_LESS)) as steps:
                _follow(steps, done, sum(map(len, missing)))
            _all_there(store, plan, parts, done)
    total = complete(store, plan, (done[part.number] for part in parts))
    bad = f", {total.bad} of them bad" if total.bad else ""
    log.info("%s: complete, %s%s", store.url, console.counted(total.rows, "row"), bad)


def make_scorer(scoring: Scoring, share: "Share") -> Scorer:
    """What each actor calls first."""
    return Scorer(scoring, cores=share.cpus, device=_device(share))


def _device(share: "Share") -> str:
    return "cuda" if share.gpus else "cpu"


def _follow(steps: Iterator[Step], done: dict[int, Counts], images: int) -> None:
    """Wait for all steps, and note the parts that are finished in `done`."""
    begun, bad = time.monotonic(), 0

    def each() -> Iterator[None]:
        nonlocal begun, bad
        for step in steps:
            if step.counts is not None:
                done[step.part] = step.counts
                bad += step.counts.bad
            yield from [None] * step.images

    for _ in console.progress(each(), total=images, label="predicting", unit="image"):
        pass
    log.info("%s", told(images, bad, time.monotonic() - begun))


def _all_there(
    store: Store, plan: Plan, parts: Sequence[Part], done: Mapping[int, Counts]
) -> None:
    """See that all parts told that they are finished.

    Of a part that is done again, Ray passes on only what comes behind the steps of the first time.

    Raises:
        Failed: If the second time ended with an error before that.
    """
    open_ends = [file_of(part, plan) for part in parts if part.number not in done]
    if open_ends:
        more = f" and {len(open_ends) - 1} more" if open_ends[1:] else ""
        raise Failed(
            f"{store.url}: not finished: {open_ends[0]}{more}; the process that had it was lost, "
            "and its second try ended with an error that Ray did not pass on; the same command "
            "goes on, and tells the error if it comes again"
        )


@contextmanager
def _can_go_on(store: Store, done: dict[int, Counts], parts: int) -> Iterator[None]:
    """Say of an end in the middle that the finished parts are not lost."""
    try:
        yield
    except BaseException as error:
        # Which the same command would only meet again.
        lasting = isinstance(error, ConfigError | BadSampleError)
        log.info(
            "%s: %d of %d parts are finished%s",
            *(store.url, len(done), parts),
            ", and stay" if lasting else "; the same command goes on with the others",
        )
        raise


def _described(share: "Share", parts: int) -> str:
    gpu = " and a GPU" if share.gpus else ""
    return (
        f"{console.counted(parts, 'part')} to score by {console.counted(share.actors, 'actor')}, "
        f"each with {console.counted(share.cpus, 'core')}{gpu}"
    )


def _digest(files: Sequence[ImageFile]) -> str:
    """SHA-256 of all names, and where they lead."""
    sha = hashlib.sha256()
    for one in files:
        for text in (one.name, one.store.url, one.file):
            sha.update(os.fsencode(text) + b"\0")
    return sha.hexdigest()
