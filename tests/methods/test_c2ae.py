"""The autoencoder's objective against loops."""

import pytest
import torch

from retdm.bank import LabelSets
from retdm.config import Config, parse
from retdm.methods import StepContext
from retdm.methods.c2ae import C2ae
from tests.methods.pixels import LABELS, WIDTH, Pixels, batch, table


def context():
    losses = frozenset({"classification"})
    return StepContext(losses, None, False, LabelSets(table()), seed=1, step=4)


def method(**settings):
    torch.manual_seed(0)
    table = {"model": {"embedding": WIDTH}, "c2ae": {"hidden": 7, **settings}}
    return C2ae(parse(Config, table, source="t"), Pixels(), LABELS).double()


def slow(model, data, settings):
    """The objective of the module's docstring, image by image."""
    net = model.parts["classifier"]
    rows = data.valid.nonzero()[:, 0].tolist()
    n, codes = len(rows), {"image": [], "labels": []}
    parts = dict.fromkeys(["latent", "orthogonality", "ranking"], 0.0)
    for i in rows:
        x = net.image(model.embed(data.images)[i]).sigmoid() - 0.5
        e = net.encoder(data.targets[i].double()).sigmoid() - 0.5
        codes["image"].append(x)
        codes["labels"].append(e)
        parts["latent"] += sum((a - b) ** 2 for a, b in zip(x, e, strict=True)) / len(x) / n
        o = net.decoder(e).sigmoid()
        pairs = [
            torch.exp(-settings.sharpness * (o[p] - o[q])) / settings.sharpness
            for p in range(LABELS)
            for q in range(LABELS)
            if data.targets[i, p] and not data.targets[i, q]
        ]
        if pairs:
            parts["ranking"] += sum(pairs) / len(pairs) / n
    for kind in codes.values():
        latent = len(kind[0])
        for j in range(latent):
            for k in range(latent):
                moment = sum(code[j] * code[k] for code in kind) / n
                parts["orthogonality"] += (16 * moment - float(j == k)) ** 2 / 16 / latent
    alignment = parts["latent"] + settings.orthogonality * parts["orthogonality"]
    parts["total"] = 2 * len(x) ** 0.5 * alignment + settings.alpha * parts["ranking"]
    return parts


@pytest.mark.parametrize(
    "settings", [{}, {"sharpness": 1.0, "alpha": 0.7, "orthogonality": 3.0, "latent_share": 1.4}]
)
def test_parts_and_gradient_match_the_loops(settings):
    model, data = method(**settings), batch()
    output, expected = model(data, context()), slow(model, data, model.settings)
    torch.testing.assert_close(output.parts, {k: v.detach() for k, v in expected.items()})
    weights = list(model.parameters())
    found = torch.autograd.grad(output.total, weights)
    torch.testing.assert_close(found, torch.autograd.grad(expected["total"], weights))


def test_the_ranking_loss_does_not_teach_the_image_net():
    model = method(alpha=1.0, orthogonality=0.0)
    with_ranking, without = method(alpha=1.0), method(alpha=0.0)
    for one in (with_ranking, without):
        one(batch(), context()).total.backward()
    for name in ("image.linear.weight", "classifier.image.1.weight"):
        grads = [
            dict(one.named_parameters())[f"parts.{name}"].grad for one in (with_ranking, without)
        ]
        torch.testing.assert_close(*grads)
    model(batch(), context()).total.backward()
    assert model.parts["classifier"].decoder[0].weight.grad.norm() > 0


def test_scores_are_the_decoded_image_code():
    model, images = method(), batch().images
    net = model.parts["classifier"]
    code = net.image(model.embed(images)).sigmoid() - 0.5
    expected = net.decoder(code).sigmoid().float().detach()
    torch.testing.assert_close(model.scores(images), expected)


@pytest.mark.parametrize("share, latent", [(0.8, 4), (1.0, 5), (0.01, 1)])
def test_the_latent_space_has_its_share_of_the_labels(share, latent):
    assert method(latent_share=share).parts["classifier"].latent == latent


def test_reading_names_every_choice():
    reading = method(sharpness=1.0).reading
    assert reading["latent space"].startswith("4 units, sigmoid - 0.5, mean square 1/16")
    assert "2 * ranking loss" in reading["c2ae"]
    assert reading["ranking"].startswith("exp(-1 (p - q)) / 1")
