"""Scores of a split do not depend on how many ranks compute them."""

import numpy as np
import pytest
import torch

from retdm.data.bad import BadSamples
from retdm.data.split import open_split
from retdm.evaluation import evaluate, fit_thresholds
from retdm.methods import build_method
from retdm.train.scoring import score_split

pytestmark = pytest.mark.slow


class PixelMeans:
    """Scores whose rounding does not depend on which images share a batch."""

    def scores(self, images):
        sums = images.flatten(1).to(torch.int64).sum(1, keepdim=True) % 997
        return ((sums + torch.arange(5)) / 1001).float()


def _metrics(rank, config):
    data = open_split(config.data.url, "test")
    scores, targets = score_split(
        PixelMeans(), data, config.data, torch.device("cpu"), bad=BadSamples(0)
    )
    return evaluate(scores, targets[:, :5], fitted=fit_thresholds(scores, targets[:, :5]))


def test_metrics_of_several_ranks_are_exactly_those_of_one(ranks, small):
    config = small("data.batch_size=5")
    alone = _metrics(0, config)
    for world in (2, 3):
        for metrics in ranks(world).run(_metrics, config):
            np.testing.assert_equal(metrics, alone)


def _scores(rank, config):
    data = open_split(config.data.url, "test")
    method = build_method(config, labels=len(data.label_space))
    scores, targets = score_split(
        method, data, config.data, torch.device("cpu"), bad=BadSamples(0)
    )
    assert np.array_equal(targets, data.table.targets)
    return scores


@pytest.mark.parametrize("batch_size", [4, 5, 7])
def test_scores_on_2_and_3_ranks_equal_those_of_one(ranks, small, batch_size):
    config = small(f"data.batch_size={batch_size}")
    alone = _scores(0, config)
    assert alone.shape[0] == len(open_split(config.data.url, "test"))
    for world in (2, 3):
        for scores in ranks(world).run(_scores, config):
            np.testing.assert_allclose(scores, alone, rtol=1e-5, atol=1e-7)
