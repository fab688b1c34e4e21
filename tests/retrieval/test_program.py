"""`python -m retdm.embed` and `python -m retdm.search` on a trained run."""

import dataclasses
import importlib.util
import json
import re
import shutil

import numpy as np
import pytest
import torch

import retdm
from retdm import console
from retdm.data.split import open_split
from retdm.embed import main as embed_main
from retdm.errors import CheckpointError, DivergenceError
from retdm.retrieval.embedded import embed_split, from_npz
from retdm.search import main as search_main


def run(main, *arguments):
    return console.run(lambda: main([str(one) for one in arguments]))


@pytest.fixture(scope="module")
def url(trained):
    return trained.run("retdm")


@pytest.fixture(scope="module")
def file(url, tmp_path_factory):
    """The test split, embedded."""
    path = tmp_path_factory.mktemp("embedded") / "test.npz"
    assert run(embed_main, url, "--out", path) == 0
    return path


@pytest.fixture(scope="module")
def photos(trained, tmp_path_factory):
    return trained.photos(tmp_path_factory.mktemp("photos"))


def test_a_split_is_embedded_as_its_photos_are(url, file, trained, photos):
    embedded = from_npz(file.read_bytes(), name="x")
    table = open_split(trained.shards, "test").table
    assert embedded.keys == tuple(table.keys)
    np.testing.assert_array_equal(embedded.targets, table.targets)
    model = retdm.load(url)
    np.testing.assert_allclose(embedded.embeddings, model.embed(photos), atol=1e-6)
    assert embedded.labels == model.labels
    assert embedded.model == f"{model.origin.url} {model.origin.checkpoint}"


def test_a_photo_of_the_split_is_nearest_to_itself(url, file, photos, capsys):
    assert run(search_main, url, "--image", photos[2], "--among", file, "-k", 3) == 0
    head, first, *others = capsys.readouterr().out.splitlines()
    assert head.split() == ["distance", "labels"]
    assert float(first.split()[0]) == pytest.approx(0, abs=1e-3)
    assert first.split()[1] == photos[2].stem
    assert len(others) == 2
    assert [float(line.split()[0]) for line in others] == sorted(
        float(line.split()[0]) for line in others
    )


def test_labels_find_images_and_images_find_label_sets(url, file, photos, capsys):
    labels = retdm.load(url).labels
    asked = ["--label", labels[1], "--label", labels[0]]
    assert run(search_main, url, *asked, "--among", file) == 0
    count = len(photos)
    assert len(capsys.readouterr().out.splitlines()) == 1 + min(10, count)
    assert run(search_main, url, "--image", photos[0], "--for", "labels", "--top", 99) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    sets = {line.split("  ")[-1] for line in lines}
    assert len(sets) == len(lines)
    assert sum(int(re.search(r"(\d+) images?\b", line)[1]) for line in lines) == count


def test_all_directions_are_measured(url, file, tmp_path, capsys):
    out = tmp_path / "found.json"
    assert run(search_main, url, "--measure", "--among", file, "--json", out) == 0
    metrics = json.loads(out.read_text())["metrics"]
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert printed.keys() == metrics.keys()
    assert {name.rpartition("@")[0] for name in metrics} == {
        *(f"images.{kind}.{what}" for kind in ("shared", "same") for what in ("precision", "mAP")),
        *("labels.precision", "labels.mAP", "label_sets.hit", "label_sets.mAP"),
    }
    assert all(0 <= value <= 1 for value in metrics.values() if value is not None)


def test_a_method_without_a_label_net_searches_images_alone(trained, photos, capsys):
    url = trained.run("bce")
    assert run(search_main, url, "--measure") == 0
    assert "labels" not in capsys.readouterr().out
    assert run(search_main, url, "--image", photos[0], "--for", "labels") == 2
    assert "method bce has no embeddings of labels; take a run of" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["retdm-one-way", "c2ae"])
def test_every_method_that_embeds_labels_is_searched_by_them(trained, method, capsys):
    assert run(search_main, trained.run(method), "--measure") == 0
    assert "label_sets.hit@1" in capsys.readouterr().out


def test_embeddings_of_another_model_are_refused(trained, file, photos, capsys):
    assert run(search_main, trained.run("bce"), "--image", photos[0], "--among", file) == 2
    told = capsys.readouterr().err
    assert re.search(
        r"embeddings by another model, \S*/retdm \S+ when they were made; write", told
    )


def test_a_model_is_known_again_elsewhere_and_after_training_it_is_another(
    trained, url, file, photos, tmp_path, capsys
):
    moved = tmp_path / "moved"
    shutil.copytree(url, moved)
    assert run(search_main, moved, "--image", photos[0], "--among", file) == 0
    other = retdm.load(str(moved))
    with torch.no_grad():
        next(other.method.parameters()).add_(1)
    assert other.digest != retdm.load(url).digest


def test_a_split_of_other_labels_is_refused(url, trained):
    data = open_split(trained.shards, "test")
    labels = (*data.label_space.names[:-1], "x")
    other = dataclasses.replace(data, manifest=data.manifest.model_copy(update={"labels": labels}))
    message = r"was made for 12 labels, .* has 12 \(missing: .*; extra: x\)"
    with pytest.raises(CheckpointError, match=message):
        embed_split(retdm.load(url), other)


def test_a_network_that_gives_no_numbers_is_told(url, trained):
    model = retdm.load(url)
    with torch.no_grad():
        next(iter(model.method.parts["image"].parameters())).fill_(float("nan"))
    with pytest.raises(DivergenceError, match="the network's embeddings are not finite numbers"):
        embed_split(model, open_split(trained.shards, "test"))


def _spoilt(file, path, **arrays):
    with np.load(file) as archive:
        found = dict(archive) | arrays
    np.savez(path, **{name: array for name, array in found.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"keys": None}, "no array 'keys'"),
        ({"keys": np.array(["a"])}, "its arrays do not belong together"),
        ({"embeddings": np.zeros((0, 2))}, "its arrays do not belong together"),
        ({"model": np.array({"a": 1}, dtype=object)}, "not a whole .npz archive of embeddings"),
    ],
)
def test_a_damaged_file_is_named(url, file, photos, tmp_path, capsys, arrays, message):
    path = _spoilt(file, tmp_path / "x.npz", **arrays)
    assert run(search_main, url, "--image", photos[0], "--among", path) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {path}: {message}")
    assert "write it again with `python -m retdm.embed`" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--label", "treee"],
            "the model: label 'treee' is not in the label space (12 labels); did",
        ),
        (["--label", "x", "--for", "labels"], "--label finds images; leave --for labels out"),
        (["--image", "x", "--json", "y"], "--json is for the numbers of --measure; add that"),
        (["--measure", "-k", "3"], "--measure has its own lists in each direction; leave -k and"),
        (["--measure", "--for", "labels"], "--measure has its own lists in each direction"),
        (["--image", "x", "--split", "val"], "--among has its split in it; leave --split out"),
        (["--image", "/nowhere.jpg"], "/nowhere.jpg"),
    ],
)
def test_bad_input_is_one_line_and_status_2(url, file, capsys, arguments, message):
    assert run(search_main, url, *arguments, "--among", file) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_without_scikit_learn_it_is_said_how_to_get_it(url, file, photos, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "sklearn" else find(n))
    assert run(search_main, url, "--image", photos[0], "--among", file) == 2
    assert "install it with: pip install 'retdm[search]'" in capsys.readouterr().err
