"""Settings that are known to let training diverge, told before it starts."""

from retdm.config import Config
from retdm.methods import Method
from retdm.train.stages import plan_stages

_PLAIN_VGG = frozenset({"vgg11", "vgg13", "vgg16", "vgg19"})
"""Without batch normalisation; also timm's of these names."""
_HIGH_LR = 0.1
"""The paper's rate. VGG's authors began at 0.01."""


def divergence_risk(config: Config, method: Method) -> str | None:
    """What may make this run diverge, and what to set instead; None: nothing known.

    A plain VGG under the paper's rate, unless gradients are clipped: from fresh weights, and more
    so under a loss that is summed over labels, whose gradients grow with their number.
    """
    rates = [stage.lr for stage in plan_stages(config, method) if "image" in stage.train]
    backbone, lr = config.model.backbone, max(rates, default=0.0)
    plain = backbone.removeprefix("timm:") in _PLAIN_VGG
    if not plain or lr < _HIGH_LR or config.optimizer.clip_norm:
        return None
    summed = config.loss.bce_reduction == "sum" and "loss.bce_reduction" in method.looks_at
    reasons = [
        *(["model.weights='none'"] if config.model.weights == "none" else []),
        *(["loss.bce_reduction='sum'"] if summed else []),
    ]
    if not reasons:
        return None
    # Not another network: with a summed loss, VGG-16 with batch normalisation diverges as soon.
    mean = ", or loss.bce_reduction=mean" if summed else ""
    return (
        f"a learning rate of {lr:g} with {' and '.join(reasons)} "
        f"{'is likely to' if summed else 'may'} diverge on {backbone}, which has no batch "
        "normalisation; set optimizer.lr=0.01 and optimizer.min_lr=0.001, or "
        f"optimizer.clip_norm=1{mean}"
    )
