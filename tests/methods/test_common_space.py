"""The space in which a method compares images with label sets."""

import pytest
import torch

from retdm import losses
from retdm.methods import build_method
from retdm.methods.common_space import common_space
from tests.train.conftest import settings

EMBEDDED = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([[True, False, True], [False, True, False], [False] * 3, [True] * 3])


@pytest.mark.parametrize("score", ["unit_sq_tau", "neg_dist", "neg_sq_dist", "inv"])
def test_distances_of_retdm_are_those_of_its_reading(score):
    config = settings("x", f"loss.score={score}")
    method = build_method(config, labels=3, load_weights=False).eval()
    space = common_space(method)
    with torch.no_grad():
        label = method.parts["label"](TARGETS)
        found = space.distance(space.images(EMBEDDED), space.label_sets(TARGETS))
        torch.testing.assert_close(found, losses.pair_distance(EMBEDDED, label, config.loss))
    lengths = space.images(EMBEDDED).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(4)) == (score == "unit_sq_tau")


def test_distances_of_c2ae_are_those_of_its_latents():
    method = build_method(settings("x", "method=c2ae"), labels=3, load_weights=False).eval()
    net, space = method.parts["classifier"], common_space(method)
    with torch.no_grad():
        found = space.distance(space.images(EMBEDDED), space.label_sets(TARGETS))
        wanted = (net.project(EMBEDDED) - net.encode(TARGETS)).norm(dim=1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["bce", "center", "cnn-rnn", "lmmo-knn"])
def test_methods_that_embed_no_label_sets_have_none(name):
    method = build_method(settings("x", f"method={name}"), labels=3, load_weights=False)
    assert common_space(method) is None
