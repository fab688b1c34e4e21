"""A stepper on real batches, and images on which its net goes wrong."""

import torch

from retdm import comm
from retdm.bank import Bank, LabelSets
from retdm.data.loader import TrainingLoader
from retdm.data.split import open_split
from retdm.methods import Clock, MicroBatches, build_method
from retdm.train.schedule import StageOptimizer
from retdm.train.stages import enter, plan_stages
from retdm.train.step import Stepper


def stepper_and_batches(config, *, stage=-1):
    """A fresh stepper in a stage, and this rank's batches of the first epoch."""
    data = open_split(config.data.url, config.data.train_split)
    torch.manual_seed(config.seed)
    method = build_method(config, labels=len(data.label_space))
    chosen = plan_stages(config, method)[stage]
    optimizer = StageOptimizer(enter(chosen, method), config.optimizer, chosen.lr)
    sets = LabelSets(torch.from_numpy(data.table.targets))
    bank = Bank(config.bank.size, config.model.embedding) if method.uses_bank else None
    loader = TrainingLoader(
        data, config.data, seed=config.seed, rank=comm.rank(), world_size=comm.world_size()
    )
    batches = list(loader.epoch(0))
    loader.close()
    device = torch.device("cpu")
    stepper = Stepper(
        *(config, chosen, method, optimizer, bank, sets, MicroBatches(), device),
        step=0,
        stage_step=0,
        clock=Clock(),
    )
    return stepper, batches


def held(stepper):
    """Copies of all that a step changes but its count."""
    own = {
        "model": stepper.method.state_dict(),
        "momentum": stepper.optimizer.sgd.state_dict()["state"],
        "bank": stepper.bank.state_dict() if stepper.bank is not None else {},
        "gradients": [p.grad for p in stepper.method.parameters() if p.grad is not None],
    }
    return _copied(own)


def _copied(value):
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def spoil(stepper, how):
    """Let the net go wrong on white images: its "embedding" or its "gradient"."""

    def hook(module, inputs, output):
        white = (inputs[0] == 255).flatten(1).all(1)[:, None]
        if how == "embedding":
            return torch.where(white, torch.nan, output)
        if output.requires_grad:
            output.register_hook(lambda gradient: torch.where(white, torch.inf, gradient))
        return output

    stepper.method.parts["image"].register_forward_hook(hook)


def whiten(batch, row):
    """Make an image white; returns its row in the training table."""
    batch.images[row] = 255
    return int(batch.indices[row])
