"""The objective against loops over anchors, and what each setting does to it."""

import pytest
import torch

from retdm.bank import (
    Bank,
    BankRows,
    LabelSets,
    draw_columns,
    nearest_instances,
    nearest_label_sets,
)
from retdm.config import Config, parse
from retdm.data.batch import Batch
from retdm.losses import pair_distance, way
from retdm.methods import StepContext
from retdm.methods.candidates import gather_candidates
from retdm.methods.effective_rank import effective_rank
from retdm.methods.retdm import Retdm
from tests.bank.largest import Largest
from tests.methods.pixels import LABELS, WIDTH, Pixels, batch, table

ALL = frozenset({"classification", "metric", "reconstruction"})


def method(*, ways=2, dtype=torch.float64, **loss):
    torch.manual_seed(0)
    settings = {"model": {"embedding": WIDTH}, "loss": {"k": 3, **loss}}
    return Retdm(parse(Config, settings, source="t"), Pixels(), LABELS, ways=ways).to(dtype)


def filled_bank(dtype=torch.float64):
    bank = Bank(10, WIDTH, dtype=dtype)
    rng = torch.Generator().manual_seed(5)
    embeddings, samples = torch.randn(7, WIDTH, generator=rng, dtype=dtype), torch.arange(20, 27)
    bank.push(BankRows(embeddings, LabelSets(table()).set_id[samples], samples), step=0)
    return bank


def context(losses=ALL, bank=None, use_bank=True, step=4):
    return StepContext(losses, bank, use_bank, LabelSets(table()), seed=1, step=step)


def slow_parts(model, data, given):
    """Every part of the loss, one anchor and one neighbour at a time."""
    settings, sets = model.settings, given.label_sets
    f, g = model.embed(data.images), model._label(data.targets)
    columns, column_sets = list(f), sets.set_id[data.indices].where(data.valid, -1).tolist()
    if given.bank is not None and given.use_bank and settings.neighbours != "batch":
        view = given.bank.view(given.step)
        columns += list(view.embeddings)
        column_sets += view.set_ids.tolist()
    own_sets, names = sets.set_id[data.indices], {"seed": given.seed, "step": given.step}
    everywhere = settings.neighbours == "exact"
    if settings.neighbour_unit == "unique":
        searched = None if everywhere else torch.tensor(column_sets)
        near, mask = nearest_label_sets(own_sets, sets, searched, k=settings.k, **names)
        drawn, found = draw_columns(near, mask, torch.tensor(column_sets), data.indices, **names)
    else:
        at_hand = torch.tensor(column_sets)
        drawn, found = nearest_instances(own_sets, sets, at_hand, k=settings.k, **names)
        near, mask = at_hand[drawn], found
        if everywhere:
            rows, mask = nearest_instances(own_sets, sets, sets.set_id, k=settings.k, **names)
            near = sets.set_id[rows]
    numbers = range(1, model.ways + 1)
    parts = dict.fromkeys(
        ["bce", *(f"way{n}" for n in numbers), "reconstruction", "violations"], 0.0
    )
    for i in data.valid.nonzero()[:, 0].tolist():
        own = pair_distance(f[i], g[i], settings)[None]
        to_sets = [
            pair_distance(f[i], model._label(sets.targets[s]), settings)
            for s, real in zip(near[i], mask[i], strict=True)
            if real
        ]
        to_images = [
            pair_distance(columns[c], g[i], settings)
            for c, real in zip(drawn[i].tolist(), found[i], strict=True)
            if real
        ]
        ways = []
        close = [
            (pair_distance(f[i], columns[c], settings).item(), c)
            for c, s in enumerate(column_sets)
            if s not in (-1, int(sets.set_id[data.indices[i]]))
        ]
        close = [c for _, c in sorted(close)][: settings.k]
        to_close_sets = [
            pair_distance(f[i], model._label(sets.targets[column_sets[c]]), settings)
            for c in close
        ]
        to_close_images = [pair_distance(columns[c], g[i], settings) for c in close]
        for distances in (to_sets, to_images, to_close_sets, to_close_images)[: model.ways]:
            other = torch.stack(distances)[None] if distances else own.new_zeros(1, 0)
            ways.append(way(own, other, torch.ones_like(other, dtype=torch.bool), settings))
        y = data.targets[i].double()
        p = model.parts["classifier"](f[i]).sigmoid()
        each = -(y * p.log() + (1 - y) * (1 - p).log())
        parts["bce"] += each.mean() if settings.bce_reduction == "mean" else each.sum()
        for n, one in zip(numbers, ways, strict=True):
            parts[f"way{n}"] += one.loss[0]
            parts["violations"] += one.violations[0] / len(ways)
        parts["reconstruction"] += (model.parts["reconstruction"](g[i]) - y).square().mean()
    parts = {name: value / data.global_size for name, value in parts.items()}
    parts["metric"] = parts["way1"] + settings.gamma * parts["way2"]
    if model.ways == 4:
        parts["metric"] = (parts["metric"] + parts["way3"] + settings.gamma * parts["way4"]) / 2
    parts["total"] = (
        parts["bce"]
        + settings.lambda1 * parts["metric"]
        + settings.lambda2 * parts["reconstruction"]
    )
    return parts


@pytest.mark.parametrize(
    "loss",
    [
        {"gamma": 0.3},
        {"score": "neg_dist", "penalty": "nll_plus_hinge", "lambda1": 0.1},
        {"neighbours": "batch", "bce_reduction": "mean", "lambda2": 2.0},
        {"neighbours": "exact", "penalty": "nll_weighted"},
        {"neighbour_unit": "instances"},
        {"neighbour_unit": "instances", "neighbours": "exact"},
    ],
    ids=["default", "literal", "batch", "exact", "instances", "exact instances"],
)
@pytest.mark.parametrize("bank", ["none", "unused", "used"])
@pytest.mark.parametrize("ways", [2, 4])
def test_parts_and_gradient_match_the_loops(loss, bank, ways):
    model, data = method(ways=ways, **loss), batch()
    given = context(bank=None if bank == "none" else filled_bank(), use_bank=bank == "used")
    output = model(data, given)
    expected = slow_parts(model, data, given)
    for name, value in expected.items():
        torch.testing.assert_close(output.parts[name], value.detach(), msg=name)
    found = torch.autograd.grad(output.total, list(model.parameters()))
    slow = torch.autograd.grad(expected["total"], list(model.parameters()))
    torch.testing.assert_close(found, slow)


def test_the_bank_matters_only_where_it_is_used():
    value = lambda **more: method().forward(batch(), context(**more)).parts["total"]
    assert value(bank=filled_bank()) != value()
    assert value(bank=filled_bank(), use_bank=False) == value()
    assert value(bank=Bank(10, WIDTH)) == value()
    assert value(bank=Bank(0, WIDTH)) == value()


@pytest.mark.parametrize("unit", ["unique", "instances"])
@pytest.mark.parametrize("ways", [2, 4])
def test_a_step_makes_nothing_of_the_size_of_the_table(ways, unit):
    numbers = torch.arange(9000)
    known = LabelSets(numbers[:, None].bitwise_and(2 ** torch.arange(14)) > 0)
    settings = {"model": {"embedding": WIDTH}, "loss": {"neighbour_unit": unit}}
    model = Retdm(parse(Config, settings, source="t"), Pixels(), 14, ways=ways)
    bank = Bank(20, WIDTH)
    bank.push(BankRows(torch.randn(20, WIDTH), known.set_id[:20], numbers[:20]), step=0)
    data = batch()
    given = StepContext(ALL, bank, True, known, seed=1, step=4)
    with Largest() as seen:
        targets = known.targets[known.set_id[data.indices]]
        whole = Batch(data.images, targets, data.indices, data.valid, 6)
        model(whole, given).total.backward()
    assert len(known) == 9000
    assert seen.numel < 9000


def test_rows_for_the_bank_are_the_valid_ones():
    model, data = method(), batch()
    embeddings, set_ids, samples = model(data, context()).rows
    assert samples.tolist() == data.indices[:6].tolist()
    assert not embeddings.requires_grad
    torch.testing.assert_close(embeddings, model.embed(data.images)[:6].detach())
    assert set_ids.tolist() == LabelSets(table()).set_id[data.indices[:6]].tolist()


def test_padding_counts_for_nothing_but_itself():
    model, padded = method(), batch(rows=8, invalid=2)
    whole = Batch(padded.images[:6], padded.targets[:6], padded.indices[:6], padded.valid[:6], 6)
    one, two = model(padded, context()), model(whole, context())
    torch.testing.assert_close(one.parts, two.parts)
    torch.testing.assert_close(one.rows, two.rows)


@pytest.mark.parametrize(
    "losses, names",
    [
        ({"classification"}, {"bce", "total"}),
        ({"reconstruction"}, {"reconstruction", "total"}),
        ({"metric"}, {"metric", "way1", "way2", "violations", "neighbours", "total"}),
    ],
)
def test_only_the_stages_losses_count(losses, names):
    output = method()(batch(), context(losses=frozenset(losses)))
    assert set(output.parts) == names
    assert (output.rows is not None) == ("metric" in losses)


def test_one_way_is_the_first_way():
    both = method()(batch(), context(bank=filled_bank()))
    one = method(ways=1)(batch(), context(bank=filled_bank()))
    assert "way2" not in one.parts
    assert one.parts["metric"] == both.parts["way1"]
    assert one.rows is not None


def test_four_ways_are_of_the_size_of_two():
    """So that lambda1 means the same for both: equal neighbours would give equal losses."""
    two, four = (method(ways=n)(batch(), context(bank=filled_bank())).parts for n in (2, 4))
    assert four["way1"] == two["way1"]
    assert four["way2"] == two["way2"]
    image_pair = four["way3"] + four["way4"]
    torch.testing.assert_close(four["metric"], (two["metric"] + image_pair) / 2)


def test_a_live_image_neighbour_learns_from_way_four(monkeypatch):
    """Way 4 compares g_i with f_j: of two images, each must feel that it is the other's."""
    data = batch(rows=2, invalid=0)
    model = method(ways=4, k=1, penalty="nll")
    model.embed = lambda images: leaf
    leaf = torch.randn(2, WIDTH, dtype=torch.float64, requires_grad=True)
    one = Batch(data.images, data.targets, data.indices, torch.tensor([True, False]), 1)
    column_sets = LabelSets(table()).set_id[data.indices]
    assert column_sets[0] != column_sets[1]
    # As seen on a rank that holds the first image, the second being another rank's.
    given = context(losses=frozenset({"metric"}))
    whole = gather_candidates(leaf, data.indices, given.label_sets, None, with_gradient=True)
    monkeypatch.setattr("retdm.methods.retdm.gather_candidates", lambda *_, **__: whole)
    model(one, given).total.backward()
    assert leaf.grad[1].norm() > 0


def test_zero_weights_leave_bce_but_a_gradient_everywhere():
    model = method(lambda1=0.0, lambda2=0.0)
    output = model(batch(), context())
    assert output.parts["total"] == output.parts["bce"]
    output.total.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all((p.grad == 0).all() for p in model.parts["label"].parameters())


@pytest.mark.parametrize("ways", [2, 4])
def test_a_batch_of_one_label_set_has_no_metric_loss_and_no_nan(ways):
    data = batch()
    same = Batch(data.images, data.targets, torch.zeros(8, dtype=torch.int64), data.valid, 6)
    model = method(ways=ways)
    output = model(same, context())
    output.total.backward()
    assert output.parts["metric"] == output.parts["neighbours"] == 0
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_frozen_parts_get_no_gradient_and_no_graph():
    model = method()
    for part in ("image", "classifier"):
        model.parts[part].eval().requires_grad_(False)
    assert not model.embed(batch().images).requires_grad
    model(batch(), context(bank=filled_bank())).total.backward()
    assert all(p.grad is None for p in model.parts["image"].parameters())
    assert all(p.grad is not None for p in model.parts["label"].parameters())


def test_steps_draw_other_neighbours_and_the_same_step_the_same():
    value = lambda step: method().forward(batch(), context(step=step)).parts["way2"]
    assert value(1) == value(1)
    assert len({float(value(step)) for step in range(6)}) > 1


def test_a_bfloat16_region_computes_distances_in_float32():
    model = method(dtype=torch.float32)
    plain = model(batch(), context(bank=filled_bank(torch.float32)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.parts["image"](batch().images).dtype == torch.bfloat16
        assert model.embed(batch().images).dtype == torch.float32
        output = model(batch(), context(bank=filled_bank(torch.float32)))
    assert output.total.dtype == torch.float32
    assert output.rows[0].dtype == torch.float32
    output.total.backward()
    # Only the image net's own rounding is left, 2^-8 of its values.
    torch.testing.assert_close(output.parts, plain.parts, rtol=0.02, atol=0.02)


def test_reading_names_every_choice():
    reading = method(score="unit_sq_tau", penalty="nll_plus_hinge_margin").reading
    assert reading["score"] == "unit_sq_tau, tau 0.5"
    assert reading["penalty"] == "nll_plus_hinge_margin, margin 1, sum over neighbours"
    assert reading["ways"] == "two"
    assert "candidates=memory" in reading["neighbours"]
    assert "gamma" not in method(ways=1).reading
    assert "image neighbours" not in reading
    four = method(ways=4, score="unit_sq_tau").reading
    assert four["ways"] == "four"
    assert "directions" in four["image neighbours"]
    assert four["metric loss"] == "((L_1 + gamma L_2) + (L_3 + gamma L_4)) / 2"


@pytest.mark.parametrize("score", ["neg_dist", "unit_sq_tau"])
@pytest.mark.parametrize("ways", [1, 2, 4])
def test_a_diagnosis_looks_at_the_newest_rows_of_the_bank(ways, score):
    model, bank = method(ways=ways, score=score), filled_bank()
    given = context(bank=bank)
    found = model.diagnose(given)
    embeddings, _, samples = bank.newest(7)
    as_batch = Batch(torch.zeros(7, 3, 4, 4), table()[samples], samples, samples >= 0, 7)
    model.embed_batch = lambda batch, context: embeddings
    parts = model(as_batch, context()).parts
    ways = [f"way{n}" for n in range(1, ways + 1)]
    mean = sum(found.values[f"violations_{name}"] for name in ways) / len(ways)
    assert mean == pytest.approx(parts["violations"].item())
    assert found.histograms.keys() == {
        *("distance_own", "norm_image", "norm_label"),
        *(f"distance_{name}" for name in ways),
    }
    own = pair_distance(embeddings, model._label(table()[samples]), model.settings)
    torch.testing.assert_close(found.histograms["distance_own"], own.detach())
    assert found.values["rank_image"] == pytest.approx(effective_rank(embeddings))
    assert 1 <= found.values["rank_label"] <= 6


def test_there_is_nothing_to_diagnose_in_an_empty_bank():
    assert method().diagnose(context()) is None
    assert method().diagnose(context(bank=Bank(4, WIDTH))) is None


def test_effective_rank_counts_directions():
    rng = torch.Generator().manual_seed(0)
    line = torch.randn(50, 1, generator=rng) @ torch.randn(1, 8, generator=rng)
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.ones(5, 3)) == 0
    # Rows +-e_i are centred, and all their singular values are equal.
    assert effective_rank(torch.cat([torch.eye(6), -torch.eye(6)])) == pytest.approx(6)
