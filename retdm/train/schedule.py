"""The optimizer of one stage and its learning rate: SGD, divided by ten on a plateau."""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from retdm.config import OptimizerSettings
from retdm.errors import CheckpointError


class StageOptimizer:
    """SGD with momentum and a learning rate that drops when validation saturates.

    The paper starts at 0.1 and divides by ten, not below 0.01 (section IV.B).
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], settings: OptimizerSettings, lr: float
    ) -> None:
        self.parameters = list(parameters)
        self.clip_norm = settings.clip_norm
        self.loss_scale = settings.loss_scale
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

    def backward(self, total: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Run backward from a loss, through the loss scale and back.

        Returns:
            Norm of all gradients together, before clipping; under DDP they are averaged already.
        """
        total.backward(torch.full_like(total, self.loss_scale))  # type: ignore[no-untyped-call]
        gradients = [one.grad for one in self.parameters if one.grad is not None]
        if self.loss_scale != 1:
            torch._foreach_div_(gradients, self.loss_scale)
        return nn.utils.get_total_norm(gradients)

    def step(self, norm: Float[Tensor, ""]) -> None:
        """Clip the gradients, whose norm is `norm`, update, and clear them."""
        if self.clip_norm:
            nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        self.sgd.step()
        self.discard()

    def discard(self) -> None:
        """Clear the gradients; weights and momentum stay as they are."""
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
        """Continue exactly where `state_dict` was taken.

        Only what training changes is taken: the rest is as the settings say.

        Raises:
            CheckpointError: If it was taken of other parameters.
        """
        momentum, own = state["sgd"]["state"], self.sgd.state_dict()
        for number, found in momentum.items():
            buffer, wanted = found["momentum_buffer"], "no such parameter"
            if number < len(self.parameters):
                wanted = _form(self.parameters[number])
            if buffer is not None and _form(buffer) != wanted:
                raise CheckpointError(
                    f"the checkpoint's momentum of parameter {number} is {_form(buffer)}, this "
                    f"run's has {wanted}; use an earlier checkpoint, or another --run-name"
                )
        groups = [{**own["param_groups"][0], "lr": state["sgd"]["param_groups"][0]["lr"]}]
        self.sgd.load_state_dict({"state": momentum, "param_groups": groups})
        counters = {name: state["plateau"][name] for name in _COUNTERS}
        self.plateau.load_state_dict({**counters, "_last_lr": [self.lr]})


_COUNTERS = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


def _form(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}"
