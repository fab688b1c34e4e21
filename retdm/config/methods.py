"""Settings of the methods that RETDM is compared with, one table for each."""

from typing import Literal

from pydantic import Field

from retdm.config.base import Settings


class AslSettings(Settings):
    """Asymmetric loss (`asl.*`; Ridnik et al., ICCV 2021)."""

    gamma_neg: float = Field(default=4.0, ge=0, description="Focusing of absent labels")
    gamma_pos: float = Field(default=1.0, ge=0, description="Focusing of present labels")
    clip: float = Field(default=0.05, ge=0, lt=1, description="Absent labels below count nothing")


class CenterSettings(Settings):
    """Centre loss (`center.*`; Wen et al., ECCV 2016)."""

    reading: Literal["per_label_binary", "multi_hot"] = Field(
        default="per_label_binary",
        description="Two classes and centres for each label, or BCE and one centre a label",
    )
    weight: float = Field(default=0.003, ge=0, description="lambda of the centre loss")
    alpha: float = Field(default=0.5, gt=0, le=1, description="Rate at which centres move")
    width: int = Field(
        default=32, ge=1, description="Of a label's own feature, in per_label_binary"
    )


class C2aeSettings(Settings):
    """Canonical-correlated autoencoder (`c2ae.*`; Yeh et al., AAAI 2017)."""

    latent_share: float = Field(default=0.8, gt=0, description="Latent width / number of labels")
    hidden: int = Field(default=512, ge=1, description="Units of each hidden layer")
    alpha: float = Field(default=2.0, ge=0, description="Weight of the ranking loss")
    sharpness: float = Field(default=5.0, gt=0, le=50, description="Of the ranking loss; paper: 1")
    orthogonality: float = Field(default=0.5, ge=0, description="Weight of both constraints")


class WarpSettings(Settings):
    """Weighted approximate ranking (`warp.*`; Gong et al., ICLR 2014)."""

    rank: Literal["exact", "sampled"] = Field(
        default="exact", description="Count violating labels, or estimate by sampling"
    )


class CnnRnnSettings(Settings):
    """Labels as a sequence (`cnn_rnn.*`; Wang et al., CVPR 2016)."""

    label_embedding: int = Field(default=64, ge=1, description="Width of a label's vector")
    hidden: int = Field(default=512, ge=1, description="Units of the LSTM")
    beam: int = Field(default=3, ge=1, description="Paths kept while decoding")
    reduction: Literal["mean", "sum"] = Field(
        default="mean", description="Over the steps of a sequence; always a mean over images"
    )


class LmmoSettings(Settings):
    """Large-margin metric learning with kNN (`lmmo.*`; Liu & Tsang, AAAI 2015)."""

    k: int = Field(default=10, ge=1, description="Neighbours, in training and prediction")
    ridge: float = Field(
        default=1.0, gt=0, description="Of the regression to label space, beside its mean square"
    )
    cost: float = Field(
        default=100.0,
        gt=0,
        description="Weight of the squared slacks; little leaves out directions",
    )
    iterations: int = Field(default=200, ge=1, description="Most projected gradient steps")


class MlsplSettings(Settings):
    """Multi-label self-paced learning (`mlspl.*`; Li et al., TNNLS 2018)."""

    pace: Literal["hard", "linear"] = Field(default="linear", description="Self-paced function")
    growth: float = Field(default=1.3, gt=1, description="Factor of the pace in each round")
    rounds: int = Field(default=10, ge=1, description="Alternations of weights and classifiers")
    ridge: float = Field(
        default=0.01, gt=0, description="Weight of the squared norm, beside the mean loss"
    )
    start_ridge: float = Field(
        default=1.0, gt=0, description="That of the first fit, whose losses set the first pace"
    )
