"""What a worker tells of itself while it trains, for whoever watches: the names and meanings.

Each metric is told per run and worker. Most have one number; some have one for each of several
parts. Totals only grow while a worker lives. What is equal on all workers is told by rank 0 alone.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One of them; on Prometheus it is `ray_NAME`, and `ray_NAME_total` if it is a total."""

    name: str
    kind: Literal["total", "gauge"]
    help: str
    parts: str = ""
    """What its parts are; "" if it has none."""

    @property
    def on_prometheus(self) -> str:
        """Its name in queries."""
        return f"ray_{self.name}_total" if self.kind == "total" else f"ray_{self.name}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A metric's number now."""

    metric: Metric
    value: float
    part: str = ""


WORKER = Metric("retdm_worker", "gauge", "1 for each worker that lives; its totals outlive it")
SECONDS = Metric(
    "retdm_seconds", "total", "Time of the worker by what it went into", "see retdm.methods.clock"
)
IMAGES = Metric(
    "retdm_images",
    "total",
    "Images that the worker got, for steps or scores",
    "training or evaluation",
)
STEP = Metric("retdm_step", "gauge", "Steps since the start of the run; rank 0")
LOSS = Metric(
    "retdm_loss", "gauge", "Global means since the log line before; rank 0", "parts of the loss"
)
VIOLATIONS = Metric(
    "retdm_violations", "gauge", "Share of the ways' constraints that are violated; rank 0"
)
NEIGHBOURS = Metric("retdm_neighbours", "gauge", "Neighbours that an anchor has; rank 0")
GRADIENT_NORM = Metric("retdm_gradient_norm", "gauge", "Before clipping; rank 0")
BANK_FILL = Metric("retdm_bank_fill", "gauge", "Share of the bank's rows in use; rank 0")
BANK_AGE = Metric("retdm_bank_age_steps", "gauge", "Of the bank's oldest row; rank 0")
S3_BYTES = Metric("retdm_s3_bytes", "total", "Moved from and to S3", "read or written")
S3_RETRIES = Metric("retdm_s3_retries", "total", "Calls to S3 that were made again")
CACHE = Metric(
    "retdm_cache_lookups", "total", "Looks for a shard in the node's cache", "hit or miss"
)
BAD_SAMPLES = Metric(
    "retdm_bad_samples", "total", "Bad images of the run, as far as the worker knows"
)
SKIPPED_STEPS = Metric(
    "retdm_skipped_steps", "total", "Steps of the run left out, not being finite; rank 0"
)
CHECKPOINTS = Metric("retdm_checkpoints", "total", "Checkpoints put on storage; rank 0")
CHECKPOINT_SECONDS = Metric(
    "retdm_checkpoint_seconds", "gauge", "To write and upload the last one; rank 0"
)
GPU_MEMORY = Metric(
    "retdm_gpu_memory_bytes", "gauge", "Of the worker's GPU", "allocated, reserved or peak"
)

METRICS = (
    *(WORKER, SECONDS, IMAGES, STEP, LOSS, VIOLATIONS, NEIGHBOURS, GRADIENT_NORM),
    *(BANK_FILL, BANK_AGE, S3_BYTES, S3_RETRIES, CACHE, BAD_SAMPLES, SKIPPED_STEPS),
    *(CHECKPOINTS, CHECKPOINT_SECONDS, GPU_MEMORY),
)
