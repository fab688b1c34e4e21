"""One optimizer step on one global batch, and one epoch of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

from retdm import comm
from retdm.bank import Bank, LabelSets
from retdm.config import Config, RunSettings
from retdm.data.batch import Batch
from retdm.errors import DivergenceError
from retdm.methods import Clock, Method, MicroBatches, StepContext, StepOutput
from retdm.train.fault import GRADIENT, Fault, all_finite, find_suspects, wrong_parts
from retdm.train.schedule import StageOptimizer
from retdm.train.skipped import remedy
from retdm.train.stages import Stage
from retdm.train.tally import EpochSummary, EpochTally
from retdm.train.undo import BufferCopy


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
        clock: Clock,
    ) -> None:
        self.config = config
        self.stage = stage
        self.method = method
        self.module = distributed(method, device, config.run)
        self.buffers = BufferCopy(method)
        self.optimizer = optimizer
        self.bank = bank
        self.label_sets = label_sets
        self.micro_batches = micro_batches
        self.device = device
        self.step = step
        self.stage_step = stage_step
        self.clock = clock
        self._exchange = 0.0
        """Share of the time of `backward` in which gradients are waited for."""

    def epoch(
        self,
        batches: Iterable[Batch],
        tally: EpochTally,
        *,
        on_log: Callable[[int, dict[str, float]], None],
        on_skip: Callable[[Fault], None],
        after_step: Callable[[], None],
    ) -> EpochSummary:
        """Train on `batches`, the rest of the epoch of which `tally` counted what is done.

        Args:
            batches: In order.
            tally: Counts on.
            on_log: Gets the global loss parts every few steps.
            on_skip: Gets what went wrong in a step that was skipped.
            after_step: Called when a step is wholly done, so that a checkpoint can be written.

        Raises:
            DivergenceError: If every step was skipped.
        """
        coming = iter(batches)
        waited = self._waited() - tally.wait_seconds
        while True:
            with self.clock.part("data"):
                batch = next(coming, None)
            if batch is None:
                break
            tally.wait_seconds = self._waited() - waited
            output = self.train(batch.to(self.device))
            if isinstance(output, Fault):
                tally.skip(batch.global_size)
                on_skip(output)
            else:
                tally.add(output.parts, batch.global_size)
            if self.step % self.config.run.log_every_steps == 0 and tally.open_steps:
                on_log(self.step, tally.close_line())
                self._exchange = exchange_share(self.module)
            after_step()
        if tally.open_steps:
            on_log(self.step, tally.close_line())
        if not tally.steps:
            raise DivergenceError(
                f"stage {self.stage.name}, step {self.step}: every step of this epoch had to be "
                f"skipped, see the warnings; {remedy(self.config, self.optimizer.lr)}"
            )
        summary = tally.summary()
        if comm.rank() == 0:
            summary.diagnose = partial(self.method.diagnose, self._context())
        return summary

    def train(self, batch: Batch) -> StepOutput | Fault:
        """Forward, backward, update, and only then remember the batch's embeddings.

        If a loss part or the gradient is not finite on some rank, all ranks skip the step:
        weights, momentum, buffers and bank stay as they are, and only the step is counted.
        """
        context = self._context()
        with self.clock.part("forward"), self._autocast():
            self.buffers.take()
            statistics = self.micro_batches.statistics()
            output: StepOutput = self.module(batch, context)
        with self.clock.part("backward"):
            norm = self.optimizer.backward(output.total)
            # Equal on all ranks, so that each has one share of it.
            parts = {**output.parts, GRADIENT: norm / comm.world_size()}
            (wrong,) = comm.any_rank([not all_finite([*parts.values()])], self.device)
        self.clock.split("backward", "exchange", self._exchange)
        self.step += 1
        self.stage_step += 1
        if wrong:
            self.micro_batches.put_back(statistics)
            return self._skip(batch, context, parts)
        with self.clock.part("optimizer"):
            self.optimizer.step(norm)
            if self.bank is not None and output.rows is not None:
                self.bank.push(output.rows, step=context.step)
        return replace(output, parts=parts)

    def _skip(self, batch: Batch, context: StepContext, parts: Mapping[str, Tensor]) -> Fault:
        """Take everything back that the step has done so far, and look for the reason."""
        self.optimizer.discard()
        self.buffers.give_back()
        with self._autocast():
            suspects = find_suspects(self.method, batch, context)
        self.buffers.give_back()
        return Fault(self.step, wrong_parts(parts), batch.global_size, suspects)

    def _autocast(self) -> torch.autocast:
        bf16 = self.config.run.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16)

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
            clock=self.clock,
        )

    def _waited(self) -> float:
        return self.clock.seconds()["data"]


def exchange_share(module: nn.Module) -> float:
    """Share of the backward pass that only waits for gradients of other ranks.

    By the times that DDP takes of its first ten steps and of every hundredth after them.
    """
    if not isinstance(module, nn.parallel.DistributedDataParallel):
        return 0.0
    told = module._get_ddp_logging_data()  # type: ignore[no-untyped-call]
    computed = told.get("avg_backward_compute_time", 0)
    sent = told.get("avg_backward_comm_time", 0)
    waited = max(sent - told.get("avg_backward_compute_comm_overlap_time", 0), 0)
    return float(waited / (computed + waited)) if waited else 0.0


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
