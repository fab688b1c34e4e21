"""The settings models of one run, with every default and its meaning.

The defaults are the paper's where the paper states them, but for those of `LossSettings`.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from retdm.config.base import Settings
from retdm.config.methods import (
    AslSettings,
    C2aeSettings,
    CenterSettings,
    CnnRnnSettings,
    LmmoSettings,
    MlsplSettings,
    WarpSettings,
)
from retdm.config.run import CheckpointSettings, RunSettings

Table = dict[str, Any]


class DataSettings(Settings):
    """Where the shards are and how they become batches (`data.*`)."""

    url: str = Field(default="", description="Shard set: a folder or s3:// URL; required to train")
    batch_size: int = Field(default=256, ge=1, description="Images in a global batch")
    image_size: int = Field(default=224, ge=16, description="Side of the network's input, pixels")
    resize: int = Field(
        default=0, ge=0, description="Side the whole image is resized to before cropping; 0: 8/7"
    )
    augment: Literal["corner-crop", "none"] = Field(
        default="corner-crop",
        description="Training crops: four corners and centre with scale jitter, and mirroring",
    )
    train_split: str = "train"
    val_split: str = "val"
    test_split: str = "test"
    shuffle_window: int = Field(
        default=0, ge=0, description="Shards mixed with one another; 0: suits the shards' sizes"
    )
    read: Literal["shards", "ranges"] = Field(
        default="shards", description="Cache whole shards on the node, or read single samples"
    )
    cache_dir: str = Field(default="", description="Node-local cache; empty: under the temp dir")
    cache_bytes: int = Field(default=50 * 2**30, ge=0, description="Limit of the cache, bytes")
    read_ahead: int = Field(default=16, ge=0, description="Shards fetched before they are needed")
    loader_workers: int = Field(default=2, ge=0, description="Decoding processes per worker")
    max_bad_samples: int = Field(
        default=0,
        ge=0,
        description="Images that may turn out damaged: in training another takes their place, in "
        "evaluation they are left out; all are listed in the result",
    )

    @property
    def splits(self) -> tuple[str, str, str]:
        """Every split that a run reads: training, validation, test."""
        return self.train_split, self.val_split, self.test_split


class ModelSettings(Settings):
    """The image network (`model.*`)."""

    backbone: str = Field(
        default="vgg16", description='"vgg16", any torchvision classifier, or "timm:NAME"'
    )
    weights: str = Field(default="imagenet", description='"imagenet", "none" or a file')
    embedding: int = Field(default=512, ge=1, description="Width of f and g, eq. (2) and (3)")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="In the image embedding net")


class LossSettings(Settings):
    """The objective L = L_c + lambda1 * L_d + lambda2 * L_r, eq. (13) (`loss.*`).

    The paper's text leaves the exact form of (5)-(8) open; each reading has a name here and is
    printed in every result. The defaults are the reading that did no harm (README, "Does RETDM
    help?"), not the literal one: that is score "neg_dist", penalty "nll_plus_hinge" and
    bce_reduction "mean".
    """

    lambda1: float = Field(default=1.0, ge=0, description="Weight of the two-way metric loss")
    lambda2: float = Field(default=0.1, ge=0, description="Weight of the reconstruction loss")
    k: int = Field(default=10, ge=1, description="Neighbouring label sets of each anchor")
    score: Literal["neg_dist", "neg_sq_dist", "neg_dist_tau", "unit_sq_tau", "inv"] = "unit_sq_tau"
    penalty: Literal[
        "nll", "nll_plus_hinge", "nll_plus_hinge_margin", "nll_weighted", "nll_plus_softplus"
    ] = "nll"
    penalty_reduction: Literal["sum", "mean"] = Field(
        default="sum", description="Over the k neighbours, in the hinge and softplus penalties"
    )
    margin: float = Field(default=1.0, gt=0, description="Of nll_plus_hinge_margin")
    tau: float = Field(default=0.5, gt=0, description="Temperature of the *_tau scores")
    gamma: float = Field(default=1.0, ge=0, description="Weight of the second way, eq. (8)")
    neighbours: Literal["memory", "batch", "exact"] = Field(
        default="memory",
        description="Label sets searched: those in batch and bank, in the batch, or in the "
        "whole training table",
    )
    neighbour_unit: Literal["unique", "instances"] = Field(
        default="unique",
        description="What k counts: distinct label sets, or images, so that frequent sets "
        "weigh more",
    )
    bce_reduction: Literal["mean", "sum"] = Field(
        default="sum",
        description="Over labels, in eq. (10), asl and center; always a mean over images",
    )


class BankSettings(Settings):
    """The cross-batch memory of image embeddings (`bank.*`)."""

    size: int = Field(default=8192, ge=0, description="Rows kept, the oldest replaced; 0: none")
    warmup_steps: int = Field(
        default=1000, ge=0, description="Steps of a stage that trains the image net before use"
    )
    max_age: int = Field(default=0, ge=0, description="Steps after which a row is stale; 0: never")


class OptimizerSettings(Settings):
    """Stochastic gradient descent and its schedule (`optimizer.*`)."""

    lr: float = Field(
        default=0.1,
        gt=0,
        description="The paper's, for a BCE averaged over labels; start at 0.01 with a summed one",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    drop_factor: float = Field(default=0.1, gt=0, lt=1, description="lr factor on a plateau")
    min_lr: float = Field(default=0.01, gt=0, description="The lr is not lowered below this")
    patience: int = Field(default=3, ge=0, description="Epochs without a better validation mAP")
    clip_norm: float = Field(default=0.0, ge=0, description="Largest gradient norm; 0: no limit")
    loss_scale: float = Field(
        default=1.0,
        gt=0,
        description="Multiplies the loss and divides its gradients again, a power of two: changes "
        "nothing but which of them are too small or too large for a number on the way",
    )

    @field_validator("loss_scale")
    @classmethod
    def _power_of_two(cls, scale: float) -> float:
        """Any other factor would round."""
        if math.frexp(scale)[0] != 0.5:
            raise PydanticCustomError("power_of_two", "Input should be a power of two, as 1024 is")
        return scale


class StageSettings(Settings):
    """One stage of training (`stages.NAME.*`): what is trained, by which losses, how long."""

    train: tuple[Literal["image", "classifier", "label", "reconstruction"], ...]
    losses: tuple[Literal["classification", "metric", "reconstruction"], ...]
    epochs: int = Field(default=20, ge=0)
    lr: float | None = Field(default=None, gt=0, description="Overrides optimizer.lr")
    augment: bool = True


_ALL_PARTS = ("image", "classifier", "label", "reconstruction")
_ALL_LOSSES = ("classification", "metric", "reconstruction")
DEFAULT_STAGES: Table = {
    "1": {"train": ("image", "classifier"), "losses": ("classification",)},
    "2": {"train": ("label", "reconstruction"), "losses": _ALL_LOSSES},
    "3": {"train": _ALL_PARTS, "losses": _ALL_LOSSES},
}


class Config(Settings):
    """All settings of one run."""

    method: str = "retdm"
    seed: int = Field(default=0, ge=0, description="Seeds weights, order, augmentation and ties")
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    bank: BankSettings = BankSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    stages: dict[str, StageSettings] = Field(
        default={}, description="The paper's three, then others in the order given"
    )
    start_from: str = Field(
        default="",
        description="Folder or URL of another run's checkpoint, which did the first stages alike: "
        "training goes on from there",
    )
    checkpoint: CheckpointSettings = CheckpointSettings()
    run: RunSettings = RunSettings()
    asl: AslSettings = AslSettings()
    center: CenterSettings = CenterSettings()
    c2ae: C2aeSettings = C2aeSettings()
    warp: WarpSettings = WarpSettings()
    cnn_rnn: CnnRnnSettings = CnnRnnSettings()
    lmmo: LmmoSettings = LmmoSettings()
    mlspl: MlsplSettings = MlsplSettings()

    @model_validator(mode="before")
    @classmethod
    def _fill_stages(cls, table: Any) -> Any:
        """Let a recipe say `stages.1.epochs = 5` and keep the rest of the paper's stage 1."""
        if not isinstance(table, Mapping) or not isinstance(table.get("stages", {}), Mapping):
            return table
        given = table.get("stages", {})
        names = list(dict.fromkeys([*DEFAULT_STAGES, *given]))
        stages = {
            name: {**DEFAULT_STAGES.get(name, {}), **stage}
            if isinstance(stage, Mapping)
            else stage
            for name in names
            for stage in [given.get(name, {})]
        }
        return {**table, "stages": stages}
