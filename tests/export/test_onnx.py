"""ONNX files: what ONNX Runtime makes of photos is what PyTorch does, or there is no file."""

import importlib.util
import json
import os

import numpy as np
import pytest

import retdm
from retdm import console
from retdm.errors import CheckpointError
from retdm.export import onnx_file, program
from retdm.export.__main__ import main
from retdm.predictor.ahead import decode_ahead
from retdm.predictor.pictures import content_of


def run(*arguments):
    return console.run(lambda: main([str(a) for a in arguments]))


@pytest.fixture(scope="module")
def onnxruntime():
    pytest.importorskip("onnxscript")
    return pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def file(onnxruntime, trained, tmp_path_factory):
    """The ONNX file of a small run of the paper's method."""
    path = tmp_path_factory.mktemp("onnx") / "scenes.onnx"
    assert run(trained.run("retdm"), "--onnx", path) == 0
    return path


def test_scores_of_photos_are_those_of_the_run(onnxruntime, file, trained, tmp_path):
    model = retdm.load(trained.run("retdm"))
    photos = trained.photos(tmp_path)
    session = onnxruntime.InferenceSession(str(file))
    (batch,) = decode_ahead(photos, content_of, model.decoder, batch_size=99, threads=1)
    pixels = batch.images.numpy()
    for rows in (slice(0, 1), slice(0, 3), slice(None)):
        scores, embeddings = session.run(None, {"images": pixels[rows]})
        np.testing.assert_allclose(scores, model.scores(photos[rows]), atol=1e-5)
        np.testing.assert_allclose(embeddings, model.embed(photos[rows]), atol=1e-4)


def test_the_file_says_what_its_columns_are(onnxruntime, file, trained):
    model = retdm.load(trained.run("retdm"))
    about = onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map
    assert tuple(json.loads(about["labels"])) == model.labels
    assert json.loads(about["thresholds"]) == model.fitted.tolist()
    assert json.loads(about["preprocessing"])["size"] == model.config.data.image_size
    assert about["data_digest"] == model.origin.data_digest
    assert os.listdir(file.parent) == [file.name]


def test_the_largest_difference_is_told(onnxruntime, trained, tmp_path, caplog):
    with caplog.at_level("INFO", logger="retdm"):
        assert run(trained.run("mlspl"), "--onnx", tmp_path / "m.onnx") == 0
    assert "m.onnx: ONNX; ONNX Runtime differs from PyTorch by at most " in caplog.text


def test_a_file_that_differs_too_much_is_not_written(onnxruntime, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "largest_differences", lambda *_: (2e-4, 0.0))
    with pytest.raises(
        CheckpointError, match=r"differs from PyTorch by 2\.0e-04 in scores and 0\.0e\+00 \(rela"
    ):
        program.export(
            trained.run("mlspl"), checkpoint="best", bundle=None, onnx=f"{tmp_path}/m.onnx"
        )
    assert os.listdir(tmp_path) == []


def test_other_weights_are_noticed(file, trained):
    model = retdm.load(trained.run("retdm"))
    scores, embeddings = onnx_file.largest_differences(file, model)
    assert max(scores, embeddings) < 1e-5
    model.method.parts["classifier"].bias.data += 0.01
    assert onnx_file.largest_differences(file, model)[0] > 1e-3


@pytest.mark.parametrize("method, reason", [("cnn-rnn", "its beam search"), ("lmmo-knn", "it lo")])
def test_a_method_that_is_no_fixed_graph_is_refused_before_anything_is_written(
    trained, tmp_path, capsys, method, reason
):
    given = ["--onnx", tmp_path / "m.onnx", "--bundle", tmp_path / "b"]
    assert run(trained.run(method), *given) == 2
    wanted = f"error: method {method} cannot be written as ONNX: {reason}"
    assert wanted in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_missing_package_is_told_with_the_command_to_install_it(
    trained, tmp_path, capsys, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: n != "onnx" and find(n))
    assert run(trained.run("mlspl"), "--onnx", tmp_path / "m.onnx") == 2
    assert (
        "writing ONNX needs onnx, which is not installed; run pip install 'retdm[export]'"
    ) in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
