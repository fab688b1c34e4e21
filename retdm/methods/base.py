"""What every method offers to training and evaluation.

Shapes: rows = images of this rank, the padding of uneven batches included; labels = columns of the
label space; total = images of the global batch.

How gradients stay those of one process: every loss is a sum over this rank's valid rows, divided
by the size of the global batch and multiplied by the number of ranks, because DDP then takes
the mean over ranks.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from retdm import comm
from retdm.bank import Bank, BankRows, LabelSets
from retdm.data.batch import Batch
from retdm.errors import CheckpointError
from retdm.methods.clock import Clock
from retdm.methods.micro_batches import MicroBatches


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a training step depends on besides its batch and the weights."""

    losses: frozenset[str]
    """Terms of the stage: of classification, metric, reconstruction, those that are active."""
    bank: Bank | None
    use_bank: bool
    """False during warm-up, while stored rows would be too far from current ones."""
    label_sets: LabelSets
    seed: int
    step: int
    """Global step, from 0; with `seed` it names the random choices of this step."""
    micro_batches: MicroBatches = field(default_factory=MicroBatches)
    """What this rank's images go through the image net in; by default all at once."""
    clock: Clock = field(default_factory=Clock)
    """Told of what is gathered and sought."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a training step yields."""

    total: Float[Tensor, ""]
    """To run backward from; scaled for DDP's mean over ranks."""
    parts: dict[str, Float[Tensor, ""]]
    """This rank's share of each named value; summed over ranks, the global-batch value."""
    rows: BankRows | None
    """For the bank, equal on all ranks; None if the step gathered nothing."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """How the embeddings stand, beyond what the losses say."""

    values: dict[str, float]
    histograms: dict[str, Float[Tensor, "..."]]


class Method(nn.Module, ABC):
    """A trainable system: named parts, a training objective, and scores for images.

    `parts` are what a stage names in `stages.*.train`. Whoever trains freezes the others
    (`requires_grad` off, evaluation mode); frozen parts then cost no graph.
    """

    reach: ClassVar[Mapping[str, frozenset[str]]] = {
        "classification": frozenset({"image", "classifier"})
    }
    """Losses that the method has, each with the parts that it trains."""

    classification: ClassVar[str] = "bce"
    """What the "classification" loss is; methods with the same one can share its stages."""

    uses_bank: ClassVar[bool] = False
    """Whether the metric loss remembers past embeddings, and so looks at `bank.*`."""

    looks_at: frozenset[str] = frozenset()
    """What of the settings `loss`, `bank` and the methods' own tables decides what it computes:
    dotted keys, or the name of a table for all of it. A comparison trains it anew where these
    change, and no others."""

    def __init__(self, parts: Mapping[str, nn.Module], reading: Mapping[str, str]) -> None:
        """Register `parts` and remember `reading`."""
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.reading = dict(reading)
        """Names of the readings taken where the paper leaves a choice."""

    @property
    def losses(self) -> frozenset[str]:
        """Losses that the method has."""
        return frozenset(self.reach)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As of any module.

        Raises:
            CheckpointError: If they are not this network's weights.
        """
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:  # names or shapes
            first, _, rest = str(error).partition("\n")
            raise CheckpointError(
                f"checkpoint: its weights do not fit its settings ({first} "
                f"{rest.strip()[:200]}); use another checkpoint of the run"
            ) from error

    @abstractmethod
    def forward(self, batch: Batch, context: StepContext) -> StepOutput:
        """Losses of one training step; called through DDP, by all ranks alike."""

    def diagnose(self, context: StepContext) -> Diagnosis | None:
        """Look at what the bank holds, on one rank and without gradients.

        Returns:
            None for a method without a metric loss, and while the bank is empty.
        """
        return None

    def embed(self, images: UInt8[Tensor, "rows 3 side side"]) -> Float[Tensor, "rows embed"]:
        """Image embeddings f, at least float32 even inside an autocast region."""
        return full_precision(self.parts["image"](images))

    def embed_batch(self, batch: Batch, context: StepContext) -> Float[Tensor, "rows embed"]:
        """Image embeddings f in a training step, as `embed`."""
        embedded = context.micro_batches.embed(
            self.parts["image"], batch.images, seed=context.seed, step=context.step
        )
        return full_precision(embedded)

    def logits(self, embeddings: Float[Tensor, "rows embed"]) -> Float[Tensor, "rows labels"]:
        """Before the sigmoid of eq. (9), in the precision of `embeddings`."""
        with no_autocast(embeddings.device):
            logits: Tensor = self.parts["classifier"](embeddings)
            return logits

    def probabilities(self, logits: Float[Tensor, "rows labels"]) -> Float[Tensor, "rows labels"]:
        """From logits to scores in [0, 1]."""
        return logits.sigmoid()

    def scores(self, images: UInt8[Tensor, "rows 3 side side"]) -> Float32[Tensor, "rows labels"]:
        """Probability of each label, in [0, 1]; in evaluation mode, without gradients."""
        with evaluating(self), torch.inference_mode():
            return self.probabilities(self.logits(self.embed(images))).float()


def full_precision(x: Tensor) -> Tensor:
    """`x` in at least float32: distances and softmax lose their meaning in bfloat16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def no_autocast(device: torch.device) -> torch.autocast:
    """A region in which products are computed in the dtype of their operands."""
    return torch.autocast(device.type, enabled=False)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put all submodules into evaluation mode, and each back into its own afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def global_share(values: Float[Tensor, " rows"], batch: Batch) -> Float[Tensor, ""]:
    """Sum over this rank's valid rows, divided by the global batch size.

    Summed over ranks this is the mean over the global batch.
    """
    return values.masked_fill(~batch.valid, 0).sum() / batch.global_size


def step_output(
    terms: Mapping[str, tuple[float, Tensor]],
    extra: Mapping[str, Tensor],
    rows: BankRows | None,
) -> StepOutput:
    """Weigh the terms of the objective and scale them for DDP.

    Args:
        terms: By name, weight and this rank's `global_share`.
        extra: Further values to report, as `global_share`s.
        rows: For the bank.
    """
    total = torch.stack([weight * share for weight, share in terms.values()]).sum()
    shares = {name: share for name, (_, share) in terms.items()} | dict(extra) | {"total": total}
    return StepOutput(
        total=total * comm.world_size(),
        parts={name: share.detach() for name, share in shares.items()},
        rows=rows,
    )
