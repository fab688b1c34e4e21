"""The stages of training as data: which parts learn, from which losses, for how long.

The paper trains the image net and its classifier first, then the label net and the
reconstruction with those frozen, then everything (section III.D).
"""

from dataclasses import dataclass

from torch import nn

from retdm.config import Config, StageSettings
from retdm.errors import ConfigError
from retdm.methods import Method
from retdm.methods.fitted import FittedMethod

FIT = "fit"
"""The stage of a method that is fitted in one go."""


@dataclass(frozen=True)
class Stage:
    """One stage, reduced to the parts and losses that the method has."""

    name: str
    train: tuple[str, ...]
    losses: frozenset[str]
    epochs: int
    lr: float
    augment: bool

    @property
    def trains_classifier(self) -> bool:
        """Whether validation scores can change at all in this stage."""
        return "image" in self.train or "classifier" in self.train


def plan_stages(config: Config, method: Method) -> list[Stage]:
    """The stages this method goes through, in order of their names.

    A stage with no epochs, or in which the method has nothing to train, is left out: plain BCE
    skips the paper's stage 2 and so sees the photos as often as RETDM does. A fitted method has
    one stage, whatever the settings are.

    Raises:
        ConfigError: If nothing is left to train.
    """
    if isinstance(method, FittedMethod):
        return [Stage(FIT, ("classifier",), frozenset(), epochs=1, lr=0.0, augment=False)]
    stages = [_reduce(name, settings, config, method) for name, settings in config.stages.items()]
    kept = [stage for stage in stages if stage.epochs and stage.train]
    if not kept:
        raise ConfigError(
            f"method {config.method}: no stage trains anything; "
            "give at least one of stages.*.epochs a value above 0"
        )
    return kept


def stage_order(config: Config) -> list[str]:
    """Names of all stages that any method can have under these settings, the first one first."""
    return [*config.stages, FIT]


def _reduce(name: str, settings: StageSettings, config: Config, method: Method) -> Stage:
    return Stage(
        name=name,
        train=tuple(part for part in settings.train if part in method.parts),
        losses=frozenset(settings.losses) & method.losses,
        epochs=settings.epochs,
        lr=settings.lr or config.optimizer.lr,
        augment=settings.augment and config.data.augment != "none",
    )


def enter(stage: Stage, method: Method) -> list[nn.Parameter]:
    """Freeze what the stage does not train, and return the parameters that it does.

    Frozen parts go to evaluation mode too: otherwise batch normalisation would keep moving
    their running statistics, and dropout would blur the features that stage 2 learns from.
    """
    trained: list[nn.Parameter] = []
    for name, part in method.parts.items():
        learns = name in stage.train
        part.train(learns)
        part.requires_grad_(learns)
        if learns:
            trained += list(part.parameters())
    return trained
