"""One optimizer step on one global batch, and one epoch of them."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

from retdm import comm
from retdm.bank import Bank, LabelSets
from retdm.config import Config, RunSettings
from retdm.data.batch import Batch
from retdm.errors import DivergenceError
from retdm.methods import Method, MicroBatches, StepContext, StepOutput
from retdm.train.schedule import StageOptimizer
from retdm.train.stages import Stage
from retdm.train.tally import EpochSummary, EpochTally, NotFiniteError


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
        micro_batches: MicroBatches,
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
        self.micro_batches = micro_batches
        self.device = device
        self.step = step
        self.stage_step = stage_step

    def epoch(
        self,
        batches: Iterable[Batch],
        tally: EpochTally,
        *,
        on_log: Callable[[int, dict[str, float]], None],
        after_step: Callable[[], None],
    ) -> EpochSummary:
        """Train on `batches`, the rest of the epoch of which `tally` counted what is done.

        Args:
            batches: In order.
            tally: Counts on.
            on_log: Gets the global loss parts every few steps.
            after_step: Called when a step is wholly done, so that a checkpoint can be written.
        """
        asked = time.perf_counter()
        for batch in batches:
            tally.wait_seconds += time.perf_counter() - asked
            tally.add(self.train(batch.to(self.device)).parts, batch.global_size)
            if self.step % self.config.run.log_every_steps == 0:
                on_log(self.step, self._line(tally))
            after_step()
            asked = time.perf_counter()
        if tally.open_steps:
            on_log(self.step, self._line(tally))
        summary = tally.summary()
        if comm.rank() == 0:
            summary.diagnosis = self.method.diagnose(self._context())
        return summary

    def train(self, batch: Batch) -> StepOutput:
        """Forward, backward, update, and only then remember the batch's embeddings."""
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
            micro_batches=self.micro_batches,
        )

    def _line(self, tally: EpochTally) -> dict[str, float]:
        try:
            return tally.close_line()
        except NotFiniteError as error:
            raise DivergenceError(
                f"stage {self.stage.name}, step {self.step}: {error}; "
                f"lower optimizer.lr (now {self.optimizer.lr:g}) or set optimizer.clip_norm"
            ) from None


def distributed(method: Method, device: torch.device, settings: RunSettings) -> nn.Module:
    """Average gradients over ranks; buffers stay local; `MicroBatches` averages them."""
    if comm.world_size() == 1:
        return method
    module = nn.parallel.DistributedDataParallel(
        method,
        device_ids=[device.index] if device.type == "cuda" else None,
        forward_sync_buffers=False,
        bucket_cap_mb=settings.bucket_mib,
        # Else DDP regroups gradients after its first step, also after that of a resumed run, and
        # three ranks or more add up in an order that depends on the groups.
        find_unused_parameters=settings.deterministic,
    )
    if settings.gradients == "bf16":
        module.register_comm_hook(None, bf16_compress_hook)
    return module
