"""A run's metrics, read off its live objects at any moment and from any thread.

Nothing is counted here a second time, and no step does anything for it: losses are those of the
newest log line. A GPU is asked what it knows of its memory, never waited for.
"""

from collections.abc import Iterator, Mapping

import torch

from retdm.counts import COUNTS
from retdm.train import metrics
from retdm.train.fault import GRADIENT
from retdm.train.metrics import Metric, Reading
from retdm.train.run import Run

_OF_THEIR_OWN: Mapping[str, Metric] = {
    "violations": metrics.VIOLATIONS,
    "neighbours": metrics.NEIGHBOURS,
    GRADIENT: metrics.GRADIENT_NORM,
}
"""What a log line has beside the parts of the loss."""


def readings(run: Run) -> list[Reading]:
    """What this rank has to tell now; rank 0, which keeps the books, has more."""
    return [*_of_rank(run), *_of_gpu(run.session.device), *(_of_books(run) if run.keeper else ())]


def _of_rank(run: Run) -> Iterator[Reading]:
    yield Reading(metrics.WORKER, 1)
    for part, seconds in run.clock.seconds().items():
        yield Reading(metrics.SECONDS, seconds, part)
    yield Reading(metrics.IMAGES, COUNTS.of("training_images"), "training")
    yield Reading(metrics.IMAGES, COUNTS.of("evaluation_images"), "evaluation")
    yield Reading(metrics.S3_BYTES, COUNTS.of("s3_read_bytes"), "read")
    yield Reading(metrics.S3_BYTES, COUNTS.of("s3_written_bytes"), "written")
    yield Reading(metrics.S3_RETRIES, COUNTS.of("s3_retries"))
    yield Reading(metrics.CACHE, COUNTS.of("cache_hits"), "hit")
    yield Reading(metrics.CACHE, COUNTS.of("cache_misses"), "miss")
    yield Reading(metrics.BAD_SAMPLES, len(run.bad))


def _of_gpu(device: torch.device) -> Iterator[Reading]:
    if device.type == "cuda":
        yield Reading(metrics.GPU_MEMORY, torch.cuda.memory_allocated(device), "allocated")
        yield Reading(metrics.GPU_MEMORY, torch.cuda.memory_reserved(device), "reserved")
        yield Reading(metrics.GPU_MEMORY, torch.cuda.max_memory_allocated(device), "peak")


def _of_books(run: Run) -> Iterator[Reading]:
    yield Reading(metrics.STEP, run.progress.step)
    yield Reading(metrics.SKIPPED_STEPS, len(run.skipped))
    for name, mean in run.line.items():
        own = _OF_THEIR_OWN.get(name)
        yield Reading(own, mean) if own else Reading(metrics.LOSS, mean, name)
    if run.bank is not None and run.bank.size:
        yield Reading(metrics.BANK_FILL, len(run.bank) / run.bank.size)
        yield Reading(metrics.BANK_AGE, run.bank_age)
    if run.keeper:
        yield Reading(metrics.CHECKPOINTS, run.keeper.written)
        yield Reading(metrics.CHECKPOINT_SECONDS, run.keeper.last_seconds)
