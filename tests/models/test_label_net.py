"""The label embedding net and the heads."""

import torch

from retdm.models import LabelEmbeddingNet, classifier_head, reconstruction_head


def test_two_layers_with_a_relu_between():
    net = LabelEmbeddingNet(5, 8).double()
    targets = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    first, _, second = net.layers
    hidden = (targets.double() @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(net(targets), hidden @ second.weight.T + second.bias)


def test_any_leading_shape():
    net = LabelEmbeddingNet(5, 8)
    targets = torch.rand(3, 4, 5) < 0.5
    torch.testing.assert_close(net(targets)[1, 2], net(targets[1, 2]))
    assert net(torch.zeros(2, 0, 5, dtype=torch.bool)).shape == (2, 0, 8)


def test_heads_are_one_linear_layer_each():
    assert classifier_head(8, 5)(torch.zeros(2, 8)).shape == (2, 5)
    assert reconstruction_head(8, 5)(torch.zeros(2, 8)).shape == (2, 5)
