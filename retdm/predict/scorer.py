"""Scores the images of one part and puts their rows at their place; on any machine, with a model.

What it does may be done twice: the second file has the bytes of the first, and takes its place
whole.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from retdm import __version__
from retdm.claims import Claim
from retdm.data.loader import EvaluationLoader
from retdm.data.split import open_split
from retdm.errors import CheckpointError, ConfigError
from retdm.predict.cut import Part
from retdm.predict.images import ImageFile
from retdm.predict.outputs import Outputs
from retdm.predict.parts import Counts, Plan, file_of, note
from retdm.predict.rows import rows_of
from retdm.predict.scored import Scored, of_files, of_split, open_split_loader
from retdm.predictor import load

_STEPS = 16
"""Times that a part tells how far it is."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What is the same for all parts; can be sent to other machines."""

    model: str
    """Absolute path or URL."""
    checkpoint: str
    """Of the model, as asked."""
    plan: Plan
    held: Claim
    """On the folder of the parts."""
    split: tuple[str, str] | None
    """URL of the shard set and name of the split; None: image files."""
    skip_bad: bool
    workers: int | None


@dataclass(frozen=True, slots=True)
class Task:
    """A part, and its files if it is of files."""

    part: Part
    files: Sequence[ImageFile] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """So many images more of a part are done; behind the last, what is in it."""

    part: int
    images: int
    counts: Counts | None = None


class Scorer:
    """The model, loaded once.

    Args:
        scoring: What is asked.
        cores: For decoding.
        device: Of torch.

    Raises:
        ConfigError: If the versions here are not those that the parts are made with.
        CheckpointError: If the model here is not the one that the parts are made with.
        StorageError: If this machine does not see the model or the folder of the parts.
    """

    def __init__(self, scoring: Scoring, *, cores: int, device: str) -> None:
        self._scoring = scoring
        scoring.held.check()
        plan = scoring.plan
        here, there = (str(torch.__version__), __version__), (plan.torch, plan.retdm)
        if here != there:
            raise ConfigError(
                "this machine has torch {} and retdm {}, the machine of the program {} and {}; "
                "install the same versions on all".format(*here, *there)
            )
        loaded = load(scoring.model, checkpoint=scoring.checkpoint, device=device)
        self._model = dataclasses.replace(loaded, threads=cores)
        if self._model.digest != plan.model:
            raise CheckpointError(
                f"{scoring.model}: the model changed while its predictions were made; end all "
                "that writes there, and predict into another folder"
            )
        self._loader: EvaluationLoader | None = None
        if scoring.split is not None:
            data = open_split(*scoring.split)
            self._loader = open_split_loader(
                self._model, data, batch_size=plan.batch_size, workers=scoring.workers
            )

    def __call__(self, task: Task) -> Iterator[Step]:
        """Score a part; yields equally often whenever it is done.

        Raises:
            BadSampleError: If an image cannot be used, and is not to be skipped.
            StorageError: If an image cannot be read, or the rows cannot be written.
        """
        scoring, model, part = self._scoring, self._model, task.part
        plan, store = scoring.plan, scoring.held.store
        rows = rows_of(
            self._batches(task),
            model.labels,
            np.array(plan.thresholds),
            top=plan.top,
            skip_bad=scoring.skip_bad,
        )
        every, seen, told, bad = -(-len(part) // _STEPS), 0, 0, 0
        place = {plan.kind: (store, file_of(part, plan))}
        with Outputs(place, model.labels) as outputs:
            for row in rows:
                outputs.write(row)
                seen += 1
                bad += row.error is not None
                if seen - told == every and seen < len(part):
                    yield Step(part.number, every)
                    told = seen
            assert seen == len(part)
            # Another program may have taken the folder over meanwhile.
            scoring.held.check()
        counts = Counts(rows=seen, bad=bad)
        note(store, part, counts)
        yield Step(part.number, seen - told, counts)

    def _batches(self, task: Task) -> Iterator[Scored]:
        size, part = self._scoring.plan.batch_size, task.part
        if self._loader is None:
            return of_files(
                self._model, task.files, batch_size=size, workers=self._scoring.workers
            )
        return of_split(self._model, self._loader, part.first // size, -(-part.last // size))
