"""Regions in which products keep their precision."""

from contextlib import contextmanager

import pytest
import torch

from retdm.bank import LabelSets, nearest_images, nearest_instances, nearest_label_sets
from retdm.methods.fitted import LinearClassifier
from retdm.methods.large_margin import nearest
from retdm.precision import exact_products
from tests.product_switches import ProductSwitches

CPU = torch.device("cpu")


@contextmanager
def switched(on):
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(params=[True, False], ids=["tf32", "plain"])
def tf32(request):
    """The process's switch, as `request.param` has it."""
    with switched(request.param):
        yield request.param


def test_tf32_is_off_inside_and_as_it_was_afterwards(tf32):
    with exact_products(CPU):
        assert not torch.backends.cuda.matmul.allow_tf32
        with exact_products(CPU):
            pass
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32 == tf32


def test_tf32_is_as_it_was_after_an_error_too(tf32):
    with pytest.raises(ZeroDivisionError), exact_products(CPU):
        raise ZeroDivisionError
    assert torch.backends.cuda.matmul.allow_tf32 == tf32


def test_products_are_in_the_precision_of_their_operands_within_autocast():
    one = torch.ones(1, 300)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with exact_products(CPU):
            assert (one[:, :257] @ one[:, :257].T).item() == 257
        assert (one @ one.T).dtype == torch.bfloat16


SETS = LabelSets(torch.eye(6, dtype=torch.bool))
POINTS, OWN = torch.eye(6), torch.arange(6)


@pytest.mark.parametrize(
    "search",
    [
        lambda: nearest_label_sets(OWN, SETS, None, k=2, seed=0, step=0),
        lambda: nearest_instances(OWN, SETS, OWN, k=2, seed=0, step=0),
        lambda: nearest_images(POINTS, OWN, POINTS, OWN, k=2),
        lambda: nearest(POINTS, POINTS, 2),
        lambda: LinearClassifier(6, 3)(POINTS),
    ],
    ids=["label sets", "instances", "images", "large margin", "fitted scores"],
)
def test_nothing_that_ranks_by_products_is_left_to_tf32_or_bfloat16(search):
    with switched(True), torch.autocast("cpu", dtype=torch.bfloat16), ProductSwitches() as seen:
        search()
    assert seen.products
    assert all(product == (False, torch.float32) for product in seen.products)
