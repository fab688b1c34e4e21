"""What a method says that it looks at is what changes its step, its scores or its fit."""

import pytest
import torch
from torch import nn

from retdm.bank import Bank, BankRows, LabelSets
from retdm.config import Config, apply_overrides, known_keys, parse
from retdm.data.batch import Batch
from retdm.methods import METHODS, StepContext
from retdm.methods.fitted import FittedMethod

LABELS, WIDTH, STEP = 6, 8, 5
BASE = [
    *(f"model.embedding={WIDTH}", "loss.k=3", "bank.size=12", "bank.warmup_steps=2"),
    *("lmmo.iterations=9", "mlspl.rounds=2", "cnn_rnn.hidden=16"),  # costs less
]
OTHER = {
    "loss.lambda1": 0.3,
    "loss.lambda2": 0.3,
    "loss.k": 2,
    "loss.score": "inv",
    "loss.penalty": "nll_weighted",
    "loss.penalty_reduction": "mean",
    "loss.margin": 0.3,
    "loss.tau": 0.3,
    "loss.gamma": 0.3,
    "loss.neighbours": "batch",
    "loss.neighbour_unit": "instances",
    "loss.bce_reduction": "mean",
    "bank.size": 2,
    "bank.warmup_steps": 9,
    "bank.max_age": 1,
    "asl.gamma_neg": 1.0,
    "asl.gamma_pos": 3.0,
    "asl.clip": 0.3,
    "center.reading": "multi_hot",
    "center.weight": 0.3,
    "center.alpha": 0.3,
    "center.width": 3,
    "c2ae.latent_share": 0.3,
    "c2ae.hidden": 5,
    "c2ae.alpha": 0.3,
    "c2ae.sharpness": 0.3,
    "c2ae.orthogonality": 0.3,
    "warp.rank": "sampled",
    "cnn_rnn.label_embedding": 5,
    "cnn_rnn.hidden": 5,
    "cnn_rnn.beam": 1,
    "cnn_rnn.reduction": "sum",
    "lmmo.k": 3,
    "lmmo.ridge": 9.0,
    "lmmo.cost": 1.0,
    "lmmo.iterations": 1,
    "mlspl.pace": "hard",
    "mlspl.growth": 2.0,
    "mlspl.rounds": 1,
    "mlspl.ridge": 1.0,
    "mlspl.start_ridge": 9.0,
}
"""Of each setting that a method has to name, a value that is not the one in `BASE`."""
CASES = [
    *((name, ()) for name in METHODS),
    ("center", ("center.reading=multi_hot",)),
    *(
        ("retdm", (f"loss.score={score}", "loss.penalty=nll_plus_hinge"))
        for score in ("neg_dist", "neg_sq_dist", "neg_dist_tau")
    ),
    *(
        ("retdm", (f"loss.penalty={penalty}",))
        for penalty in ("nll_plus_hinge_margin", "nll_plus_softplus")
    ),
    ("retdm-one-way", ("loss.penalty=nll_plus_hinge",)),
]


class Bits(nn.Module):
    """An image net that costs nothing."""

    width = WIDTH

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, WIDTH)

    def forward(self, images):
        return self.linear(images.flatten(1) / 255 - 0.5)


def outcome(config):
    """The method, and all that may depend on a setting: one step, what it moves, the scores."""
    torch.manual_seed(0)
    method = METHODS[config.method].make(config, Bits(), LABELS)
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (40, 3, 2, 2), dtype=torch.uint8, generator=rng)
    targets = torch.rand(40, LABELS, generator=rng) < 0.4
    if isinstance(method, FittedMethod):
        features = torch.randn(40, WIDTH, generator=rng) + 2.0 * targets[:, :1]
        values = method.fit(features, targets)
        found = [torch.tensor(sorted(values.values())), *method.state_dict().values()]
        return method, [*found, method.scores(images)]
    sets = LabelSets(targets)
    bank = None
    if config.bank.size and method.uses_bank:
        bank = Bank(config.bank.size, WIDTH, max_age=config.bank.max_age)
        for step, rows in enumerate((torch.arange(20, 26), torch.arange(30, 36)), start=3):
            stored = torch.randn(6, WIDTH, generator=rng)
            bank.push(BankRows(stored, sets.set_id[rows], rows), step=step)
    use_bank = config.bank.warmup_steps <= STEP
    context = StepContext(method.losses, bank, use_bank, sets, seed=0, step=STEP)
    rows = torch.arange(8)
    batch = Batch(images[:8], targets[:8], rows, torch.ones(8, dtype=torch.bool), 8)
    total = method(batch, context).total
    total.backward()
    gradients = [parameter.grad for parameter in method.parameters()]
    return method, [total.detach(), *gradients, *method.buffers(), method.scores(images)]


def settings(name, *overrides):
    table = apply_overrides({}, [*BASE, f"method={name}", *overrides])
    return parse(Config, table, source="test")


@pytest.mark.parametrize(("name", "reading"), CASES, ids=lambda value: str(value))
def test_a_setting_changes_what_is_computed_if_and_only_if_the_method_looks_at_it(name, reading):
    given = settings(name, *reading)
    method, before = outcome(given)
    said, found = set(), set()
    for key, value in OTHER.items():
        other = settings(name, *reading, f"{key}={value}")
        assert other != given or key in ("center.reading", "loss.penalty"), key
        table = key.partition(".")[0]
        if other != given and method.looks_at & {table, key}:
            said.add(key)
        _, after = outcome(other)
        if len(before) != len(after) or not all(map(torch.equal, before, after)):
            found.add(key)
    assert found == said


def test_every_setting_that_not_all_methods_read_is_tried():
    common = {"data", "model", "optimizer", "stages", "checkpoint", "run"}
    keys = [key for key in known_keys(Config) if "." in key]
    assert set(OTHER) == {key for key in keys if key.partition(".")[0] not in common}
