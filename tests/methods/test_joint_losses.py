"""What C2AE and CNN-RNN, which compute their losses themselves, have to keep in common."""

import pytest
import torch

from retdm.bank import LabelSets
from retdm.config import Config, parse
from retdm.data.batch import Batch
from retdm.methods import StepContext
from retdm.methods.c2ae import C2ae
from retdm.methods.cnn_rnn import CnnRnn
from tests.methods.pixels import LABELS, WIDTH, Pixels, batch, table


def context():
    losses = frozenset({"classification"})
    return StepContext(losses, None, False, LabelSets(table()), seed=1, step=4)


@pytest.fixture(params=[C2ae, CnnRnn])
def method(request):
    torch.manual_seed(0)
    hidden = {"hidden": 7}
    settings = {"model": {"embedding": WIDTH}, "c2ae": hidden, "cnn_rnn": hidden}
    return request.param(parse(Config, settings, source="t"), Pixels(), LABELS).double()


def test_padding_counts_for_nothing(method):
    model, padded = method, batch(rows=8, invalid=2)
    whole = Batch(padded.images[:6], padded.targets[:6], padded.indices[:6], padded.valid[:6], 6)
    torch.testing.assert_close(model(padded, context()).parts, model(whole, context()).parts)


def test_a_bfloat16_region_computes_the_losses_in_float32(method):
    model = method.float()
    plain = model(batch(), context())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(batch(), context())
    assert output.total.dtype == torch.float32
    output.total.backward()
    torch.testing.assert_close(output.parts, plain.parts, rtol=0.03, atol=0.02)
