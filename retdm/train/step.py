"""One optimizer step on one global batch, and one epoch of them."""

import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

from retdm import comm
from retdm.bank import Bank, LabelSets
from retdm.config import Config, RunSettings
from retdm.data.batch import Batch
from retdm.errors import DivergenceError
from retdm.methods import Diagnosis, Method, StepContext, StepOutput
from retdm.train.schedule import StageOptimizer
from retdm.train.stages import Stage


@dataclass
class EpochSummary:
    """What one epoch was like."""

    means: dict[str, float] = field(default_factory=dict)
    """Mean of each loss part over the epoch's steps, global batches."""
    images: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    """Time this rank waited for data."""
    diagnosis: Diagnosis | None = None
    """How the embeddings stand behind the epoch; on rank 0 alone."""


class Stepper:
    """Takes the steps of one stage; `step` counts those of the whole run."""

    def __init__(
        self,
        config: Config,
        stage: Stage,
        method: Method,
        optimizer: StageOptimizer,
        bank: Bank | None,
        label_sets: LabelSets,
        device: torch.device,
        *,
        step: int,
        stage_step: int,
    ) -> None:
        self.config = config
        self.stage = stage
        self.method = method
        self.module = distributed(method, device, config.run)
        self.optimizer = optimizer
        self.bank = bank
        self.label_sets = label_sets
        self.device = device
        self.step = step
        self.stage_step = stage_step

    def epoch(
        self,
        batches: Iterable[Batch],
        on_log: Callable[[int, dict[str, float]], None],
    ) -> EpochSummary:
        """Train on `batches`; `on_log` gets the global loss parts every few steps."""
        summary, window = EpochSummary(), _Window()
        totals: dict[str, float] = {}
        steps = 0
        started = asked = time.perf_counter()
        for batch in batches:
            summary.wait_seconds += time.perf_counter() - asked
            window.add(self.train(batch.to(self.device)).parts)
            steps += 1
            summary.images += batch.global_size
            if self.step % self.config.run.log_every_steps == 0:
                on_log(self.step, self._close(window, totals))
            asked = time.perf_counter()
        if window.steps:
            on_log(self.step, self._close(window, totals))
        summary.means = {name: value / max(steps, 1) for name, value in totals.items()}
        summary.seconds = time.perf_counter() - started
        if comm.rank() == 0:
            summary.diagnosis = self.method.diagnose(self._context())
        return summary

    def train(self, batch: Batch) -> StepOutput:
        """Forward, backward, update, and only then remember the batch's embeddings."""
        torch.manual_seed(_step_seed(self.config.seed, self.step, comm.rank()))
        bf16 = self.config.run.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            output: StepOutput = self.module(batch, self._context())
        output.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.bank is not None and output.rows is not None:
            self.bank.push(output.rows, step=self.step)
        self.step += 1
        self.stage_step += 1
        return output

    def _context(self) -> StepContext:
        # Rows drift only while the image net learns. Before, they are never stale, if not what the
        # net says of the same image now: augmentation shows it another crop.
        drifting = "image" in self.stage.train
        warm = not drifting or self.stage_step >= self.config.bank.warmup_steps
        return StepContext(
            losses=self.stage.losses,
            bank=self.bank,
            use_bank=warm,
            label_sets=self.label_sets,
            seed=self.config.seed,
            step=self.step,
        )

    def _close(self, window: "_Window", totals: dict[str, float]) -> dict[str, float]:
        """Sum the window over ranks, add it to `totals`, and return its mean per step."""
        sums, steps = window.take()
        for name, value in sums.items():
            if not math.isfinite(value):
                raise DivergenceError(
                    f"stage {self.stage.name}, step {self.step}: loss part {name!r} is {value}; "
                    f"lower optimizer.lr (now {self.optimizer.lr:g}) or set optimizer.clip_norm"
                )
            totals[name] = totals.get(name, 0.0) + value
        return {name: value / steps for name, value in sums.items()}


class _Window:
    """Loss parts since the last log line; on the device, so that no step waits for them."""

    def __init__(self) -> None:
        self.steps = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, parts: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in parts.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()

    def take(self) -> tuple[dict[str, float], int]:
        """Sums over steps and ranks, and the number of steps; empties the window."""
        names = sorted(self._sums)
        summed = comm.all_sum(torch.stack([self._sums[name].float() for name in names])).tolist()
        steps, self.steps, self._sums = self.steps, 0, {}
        return dict(zip(names, summed, strict=True)), steps


def distributed(method: Method, device: torch.device, settings: RunSettings) -> nn.Module:
    """Average gradients over ranks; buffers stay local and are averaged once an epoch."""
    if comm.world_size() == 1:
        return method
    module = nn.parallel.DistributedDataParallel(
        method,
        device_ids=[device.index] if device.type == "cuda" else None,
        forward_sync_buffers=False,
        bucket_cap_mb=settings.bucket_mib,
    )
    if settings.gradients == "bf16":
        module.register_comm_hook(None, bf16_compress_hook)
    return module


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of the step's dropout: a function of the position, so that a resumed run repeats it."""
    digest = hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
