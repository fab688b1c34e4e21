"""The optimizer of one stage and its learning rate: SGD, divided by ten on a plateau."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from retdm.config import OptimizerSettings


class StageOptimizer:
    """SGD with momentum and a learning rate that drops when validation saturates.

    The paper starts at 0.1 and divides by ten, not below 0.01 (section IV.B).
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], settings: OptimizerSettings, lr: float
    ) -> None:
        self.parameters = list(parameters)
        self.clip_norm = settings.clip_norm
        self.sgd = SGD(
            self.parameters,
            lr=lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.plateau = ReduceLROnPlateau(
            self.sgd,
            mode="max",
            factor=settings.drop_factor,
            patience=settings.patience,
            min_lr=min(settings.min_lr, lr),
            # Relative to a negative value, the default, every value would count as better.
            threshold_mode="abs",
        )

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return float(self.sgd.param_groups[0]["lr"])

    def step(self) -> None:
        """Clip, update and clear the gradients."""
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.sgd.step()
        self.sgd.zero_grad(set_to_none=True)

    def end_epoch(self, monitored: float) -> None:
        """Lower the rate if `monitored` (higher is better) has stopped rising."""
        self.plateau.step(monitored)

    def state_dict(self) -> dict[str, Any]:
        """Momentum, rate and plateau counters."""
        plateau = {
            name: value
            for name, value in self.plateau.state_dict().items()
            if isinstance(value, int | float | list | str)
        }
        return {"sgd": self.sgd.state_dict(), "plateau": plateau}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        self.sgd.load_state_dict(state["sgd"])
        self.plateau.load_state_dict(state["plateau"])
