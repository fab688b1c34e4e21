"""What a result says of the software that made it."""

import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

from retdm.data.plan import Position
from retdm.errors import CheckpointError
from retdm.methods import build_method
from retdm.train import result
from retdm.train.checkpoint import Progress, TrainingState
from retdm.train.result import code_digest, load_method, versions
from tests.train.conftest import settings


def test_versions_name_the_decoder_the_networks_and_the_code():
    found = versions()
    for name in ("torch", "torchvision", "timm", "simplejpeg", "pillow"):
        assert found[name] == version(name)
    assert found["code"] == code_digest()
    assert len(found["code"]) == 12


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    def without(name):
        if name == "timm":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(result, "version", without)
    assert versions().keys() >= {"torch", "simplejpeg"}
    assert "timm" not in versions()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package in a folder of another name, which `code_digest` looks at."""
    root = Path(result.__file__).parents[1]
    shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.setattr(result, "__file__", str(tmp_path / "copy/train/result.py"))
    return tmp_path / "copy"


def digest():
    return code_digest.__wrapped__()


def test_the_code_is_the_same_wherever_it_is_installed(copy):
    assert digest() == code_digest()


@pytest.mark.parametrize("change", ["edited", "renamed", "added"])
def test_the_code_is_another_after_any_change(copy, change):
    path = copy / "losses/bce.py"
    if change == "edited":
        path.write_text(path.read_text() + "\n")
    elif change == "renamed":
        path.rename(path.with_name("bcf.py"))
    else:
        (copy / "losses/new.py").touch()
    assert digest() != code_digest()


def test_weights_of_another_network_are_refused():
    position = Position(0, 0, 0, digest="d" * 64, batch_size=8, window=1)
    state = TrainingState(
        model={"parts.image.0.weight": torch.zeros(1)},
        optimizer={},
        bank={},
        progress=Progress(position),
        history=[],
        bad_samples=[],
        config=settings("x", "method=bce").model_dump(mode="json"),
        labels=("a", "b"),
    )
    with pytest.raises(
        CheckpointError, match=r"weights do not fit its settings \(Error.*; use an"
    ):
        load_method(state, torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "shape"), [("weight", (3, 9)), ("bias", (3,)), ("points", (5, 3)), ("targets", ())]
)
def test_a_fitted_classifier_of_another_shape_is_refused(name, shape):
    config = settings("x", "method=lmmo-knn")
    own = build_method(config, labels=2, load_weights=False).state_dict()
    position = Position(0, 0, 0, digest="d" * 64, batch_size=8, window=1)
    state = TrainingState(
        model={**own, f"parts.classifier.{name}": torch.zeros(shape)},
        optimizer={},
        bank={},
        progress=Progress(position),
        history=[],
        bad_samples=[],
        config=config.model_dump(mode="json"),
        labels=("a", "b"),
    )
    with pytest.raises(CheckpointError, match=rf"size mismatch for parts\.classifier\.{name}: "):
        load_method(state, torch.device("cpu"))
