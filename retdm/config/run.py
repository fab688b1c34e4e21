"""Settings of how a run uses machines, and of what it keeps; few of them change its results."""

from typing import Literal

from pydantic import Field

from retdm.config.base import Settings


class CheckpointSettings(Settings):
    """What is kept on storage (`checkpoint.*`)."""

    every_steps: int = Field(
        default=0,
        ge=0,
        description="Steps between checkpoints inside an epoch; 0: none",
    )
    every_minutes: float = Field(
        default=10.0,
        ge=0,
        description="The same by the clock; a step that is due is looked for "
        "every run.log_every_steps steps",
    )
    keep_best: int = Field(default=1, ge=1, description="Best checkpoints kept beside the latest")
    metric: Literal["mAP", "OF1", "CF1", "average_precision"] = Field(
        default="mAP", description="Validation metric that ranks checkpoints, higher is better"
    )


class RunSettings(Settings):
    """How the run uses machines (`run.*`)."""

    precision: Literal["fp32", "bf16"] = "fp32"
    gradients: Literal["fp32", "bf16"] = Field(
        default="fp32", description="What workers exchange; bf16 halves the bytes and rounds"
    )
    bucket_mib: int = Field(default=25, ge=1, description="Gradients sent at a time, MiB")
    deterministic: bool = False
    micro_batches: int = Field(
        default=0,
        ge=0,
        description="Parts of a global batch that go through the image net one after another, "
        "each with dropout and batch statistics of its own, so that results do not depend on the "
        "number of workers; 0: one for each worker (on GPUs with statistics of the whole batch), "
        "or MAX of --workers MIN:MAX",
    )
    cpus_per_worker: float = Field(default=1.0, gt=0, description="CPU cores of one worker")
    gpus: Literal["auto", "required", "none"] = Field(
        default="auto",
        description="One GPU for each worker: if the cluster has enough when the run starts "
        "(auto), also where machines come only when they are asked for (required), never (none)",
    )
    collective_timeout_s: int = Field(default=1800, ge=1)
    max_failures: int = Field(default=3, ge=0, description="Restarts after lost workers")
    resize_check_s: float = Field(
        default=60.0,
        gt=0,
        description="With --workers MIN:MAX, seconds between looks for room for more workers; "
        "they join by a restart of all from the latest checkpoint",
    )
    max_skipped_steps: int = Field(
        default=3,
        ge=0,
        description="Steps of a run that may be left out because a loss or gradient was no finite "
        "number; few, since each costs a batch and is a sign of trouble. All are listed in "
        "the result",
    )
    threshold: float = Field(default=0.5, gt=0, lt=1, description="Score that counts as yes")
    test: bool = Field(
        default=True, description="Evaluate on the test split at the end; a search's trials do not"
    )
    log_every_steps: int = Field(default=10, ge=1, description="Steps between log lines")
    ledger: bool = Field(
        default=False,
        description="Write which samples each step consumed, by key and in order, to "
        "ledger/epochNNN.jsonl in the run's folder; methods that are fitted have no steps",
    )
