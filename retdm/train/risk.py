"""Settings that are known to let training diverge, told before it starts."""

from retdm.config import Config
from retdm.methods import Method
from retdm.train.stages import plan_stages

_PLAIN_VGG = frozenset({"vgg11", "vgg13", "vgg16", "vgg19"})
"""Without batch normalisation; also timm's of these names."""
_HIGH_LR = 0.1
"""The paper's rate. VGG's authors began at 0.01."""


def divergence_risk(config: Config, method: Method) -> str | None:
    """What is likely to make this run diverge, and what to set instead; None: nothing known.

    A plain VGG under the paper's rate is at risk from fresh weights, and under a loss that is
    summed over labels, whose gradients are as many times as large as there are labels.
    """
    lrs = [stage.lr for stage in plan_stages(config, method) if "image" in stage.train]
    if config.model.backbone.removeprefix("timm:") not in _PLAIN_VGG:
        return None
    if max(lrs, default=0) < _HIGH_LR:
        return None
    summed = config.loss.bce_reduction == "sum" and "loss.bce_reduction" in method.looks_at
    reasons = [
        *(["model.weights='none'"] if config.model.weights == "none" else []),
        *(["loss.bce_reduction='sum'"] if summed else []),
    ]
    if not reasons:
        return None
    return (
        f"a learning rate of {max(lrs):g} with {' and '.join(reasons)} is likely to diverge on "
        f"{config.model.backbone}, which has no batch normalisation; set optimizer.lr=0.01 and "
        "optimizer.min_lr=0.001, or optimizer.clip_norm=1, or another model.backbone, such as "
        f"{config.model.backbone}_bn"
    )
