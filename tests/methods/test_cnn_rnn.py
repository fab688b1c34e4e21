"""The sequence loss against loops, and what it is shown."""

import pytest
import torch
from torch import nn

from retdm.bank import LabelSets
from retdm.config import Config, parse
from retdm.data.batch import Batch
from retdm.methods import StepContext
from retdm.methods.cnn_rnn import CnnRnn
from tests.methods.pixels import LABELS, WIDTH, Pixels, batch, table


def context():
    losses = frozenset({"classification"})
    return StepContext(losses, None, False, LabelSets(table()), seed=1, step=4)


def method(**settings):
    torch.manual_seed(0)
    table = {"model": {"embedding": WIDTH}, "cnn_rnn": {"hidden": 7, **settings}}
    return CnnRnn(parse(Config, table, source="t"), Pixels(), LABELS).double()


def slow(model, data):
    """Negative log-likelihood of each image's sequence, one LSTM step at a time."""
    net, counts = model.parts["classifier"], table().sum(0).tolist()
    cell = nn.LSTMCell(net.recurrent.input_size, net.recurrent.hidden_size).double()
    for name, parameter in net.recurrent.named_parameters():
        delattr(cell, name.removesuffix("_l0"))
        setattr(cell, name.removesuffix("_l0"), parameter)
    total = 0.0
    for i in data.valid.nonzero()[:, 0].tolist():
        present = data.targets[i].nonzero()[:, 0].tolist()
        sequence = [*sorted(present, key=lambda label: (-counts[label], label)), LABELS]
        image = net.from_image(model.embed(data.images)[i])
        state, before, named, steps = None, LABELS, [], []
        for outcome in sequence:
            state = cell(net.label.weight[before][None], state)
            joint = (net.from_recurrent(state[0][0]) + image).tanh()
            scores = net.label.weight @ joint
            allowed = [label for label in range(LABELS + 1) if label not in named]
            steps.append(scores[allowed].logsumexp(0) - scores[outcome])
            before = outcome
            named.append(outcome)
        total += sum(steps) / (len(steps) if model.settings.reduction == "mean" else 1)
    return total / data.global_size


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_and_gradient_match_the_loops(reduction):
    model, data = method(reduction=reduction, label_embedding=4), batch()
    output, expected = model(data, context()), slow(model, data)
    torch.testing.assert_close(output.parts["cnn-rnn"], expected.detach())
    weights = list(model.parameters())
    found = torch.autograd.grad(output.total, weights)
    torch.testing.assert_close(found, torch.autograd.grad(expected, weights))


def test_frequencies_are_those_of_the_training_table():
    model, data = method(), batch()
    other = StepContext(context().losses, None, False, LabelSets(table().flip(1)), seed=1, step=4)
    assert model(data, context()).parts["total"] != model(data, other).parts["total"]


def test_a_step_of_padding_alone_is_finite():
    data = batch()
    empty = Batch(data.images, data.targets, data.indices, torch.zeros(8, dtype=torch.bool), 6)
    model = method()
    output = model(empty, context())
    output.total.backward()
    assert output.total == 0
    assert all((p.grad == 0).all() for p in model.parameters())


def test_logits_are_the_log_odds_of_the_scores():
    model, images = method(), batch().images
    with torch.no_grad():
        logits = model.logits(model.embed(images))
    torch.testing.assert_close(logits.sigmoid().float(), model.scores(images))


def test_images_are_scored_apart_even_by_a_wide_beam():
    model, images = method(beam=40), batch().images
    whole = model.scores(images)
    for row in range(len(images)):
        torch.testing.assert_close(model.scores(images[row : row + 1])[0], whole[row])


def test_reading_names_every_choice():
    reading = method(beam=5, reduction="sum").reading
    assert reading["scores"].startswith("beam of 5")
    assert "sum over steps" in reading["cnn-rnn"]
    assert "7 units" in reading["label net"]
