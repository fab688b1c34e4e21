"""What a checkpoint's tables hold, checked when it is read: anyone may have made it.

Only kinds and ranges, which a checkpoint shows by itself; whether the weights fit their network is
for those to say who load them.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from torch import Tensor

from retdm.errors import DatasetError
from retdm.labels import LabelSpace


def fault(content: object) -> str:
    """What is wrong with the content of a checkpoint's file, and where; "" if nothing is."""
    try:
        _Content.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        return f"{where}: {first['msg']}"
    return ""


def _plain(tensor: Tensor) -> Tensor:
    """Dense and all there: a view can claim a shape far beyond its bytes."""
    if (
        type(tensor) is not Tensor
        or tensor.layout is not torch.strided
        or tensor.is_nested
        or tensor.is_quantized
        or tensor.is_meta
        or tensor.requires_grad
        or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
    ):
        raise ValueError("not a plain tensor")
    return tensor


def _real(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.dim() != 2 or not len(tensor):
        raise ValueError("not rows of numbers")
    return tensor


def _label_space(names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        LabelSpace(names)
    except DatasetError as error:
        raise ValueError(str(error)) from None
    return names


def _none_if_empty(value: object) -> object:
    return None if isinstance(value, dict) and not value else value


Count = Annotated[int, Field(ge=0, lt=2**62)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Plain = Annotated[Tensor, AfterValidator(_plain)]
Rows = Annotated[Plain, AfterValidator(_real)]
OrEmpty = BeforeValidator(_none_if_empty)


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)


class _OpenTable(BaseModel):
    """One with further fields, which nobody reads."""

    model_config = ConfigDict(strict=True, extra="ignore", arbitrary_types_allowed=True)


class _Position(_Table):
    seed: int
    epoch: Count
    next_batch: Count
    digest: str
    batch_size: Count
    window: Count


class _Progress(_Table):
    data: _Position
    stage: str
    epoch: Count
    step: Count


class _Epoch(BaseModel):
    """Of the history; names of its numbers depend on the method."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, float]
    stage: str
    epoch: Count
    step: Count
    checkpoint: str
    rank_score: float
    mean_precision: float = Field(alias="val/mAP")
    overall_f1: float = Field(alias="val/OF1")


class _SkippedStep(_Table):
    stage: str
    step: Count
    plan_epoch: Count
    batch: Count
    wrong: str
    images: Count
    suspects: Count
    keys: list[str]


class _Tally(_Table):
    steps: Count
    images: Count
    seconds: Seconds
    wait_seconds: Seconds
    totals: dict[str, float]
    open_steps: Count
    open_names: list[str]
    open: Rows | None = None

    @model_validator(mode="after")
    def _agree(self) -> "_Tally":
        width = 0 if self.open is None else self.open.shape[1]
        if width != len(self.open_names) or bool(width) != bool(self.open_steps):
            raise ValueError("sums of other loss parts than it names")
        if self.steps and "total" not in {*self.totals, *self.open_names}:
            raise ValueError("no sum of the loss part 'total'")
        return self


class _Momentum(_Table):
    momentum_buffer: Plain | None


class _Group(_OpenTable):
    lr: Seconds


class _Sgd(_Table):
    state: dict[Count, _Momentum]
    param_groups: Annotated[list[_Group], Field(min_length=1, max_length=1)]


class _Plateau(_OpenTable):
    best: float
    num_bad_epochs: Count
    cooldown_counter: Count
    last_epoch: Count


class _Optimizer(_Table):
    sgd: _Sgd
    plateau: _Plateau


class _Bank(_Table):
    embeddings: Plain
    set_ids: Plain
    samples: Plain
    steps: Plain
    drift: Plain
    written: Count


class _Content(_Table):
    model: dict[str, Plain]
    optimizer: Annotated[_Optimizer | None, OrEmpty]
    bank: Annotated[_Bank | None, OrEmpty]
    progress: _Progress
    history: list[_Epoch]
    bad_samples: list[
        Annotated[dict[Literal["split", "shard", "key", "reason"], str], Field(min_length=4)]
    ]
    settings: dict[str, JsonValue] = Field(alias="config")
    labels: Annotated[tuple[str, ...], AfterValidator(_label_space)]
    skipped_steps: list[_SkippedStep] = []
    tally: Annotated[_Tally | None, OrEmpty] = None
    statistics: Rows | None = None
    seconds: dict[str, Seconds] = {}

    @model_validator(mode="before")
    @classmethod
    def _is_table(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            raise ValueError("not a table")
        return content

    @model_validator(mode="after")
    def _counts_inside_an_epoch(self) -> "_Content":
        if self.progress.data.next_batch and self.tally is None:
            raise ValueError("it stands inside an epoch, of whose steps it has no tally")
        return self
