"""What workers exchange: gradients in float32, or rounded to bfloat16."""

import torch
from torch import nn

from retdm.config import RunSettings
from retdm.train.step import distributed


def gradients(rank, kind):
    torch.manual_seed(0)
    layer = nn.Linear(6, 3, bias=False)
    module = distributed(layer, torch.device("cpu"), RunSettings(gradients=kind, bucket_mib=1))
    inputs = torch.arange(6.0) / 7 + rank
    module(inputs).sum().backward()
    return layer.weight.grad


def test_bf16_gradients_are_the_mean_over_workers_to_bf16_precision(ranks):
    plain = ranks(2).run(gradients, "fp32")
    rounded = ranks(2).run(gradients, "bf16")
    torch.testing.assert_close(plain[0], (torch.arange(6.0) / 7 + 0.5).expand(3, 6))
    torch.testing.assert_close(rounded[0], plain[0], rtol=2**-7, atol=0)
    assert torch.equal(rounded[0], rounded[1])
    assert not torch.equal(rounded[0], plain[0])
