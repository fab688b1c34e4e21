"""Whole runs of fitted methods: features once, kept and reused, one checkpoint, resume."""

import json
import logging

import numpy as np
import pytest
import torch

from retdm.data.bad import BadSample, BadSamples
from retdm.data.split import open_split
from retdm.methods import build_method
from retdm.storage import open_store
from retdm.train import checkpoint, features
from retdm.train.feature_file import Features, file_name, read, write
from retdm.train.loop import train
from retdm.train.result import conclude
from retdm.train.session import LocalSession
from tests.train.conftest import settings

pytestmark = pytest.mark.slow
FITTED = ("lmmo-knn", "mlspl")
SETTINGS = ("lmmo.k=3", "mlspl.rounds=3", "stages.*.epochs=0")


def _train(config, root):
    return train(config, LocalSession(), open_store(str(root)))


def _no_loader(*_, **__):
    raise AssertionError("the images were read again")


def _rank_train(rank, config, root):
    run = _train(config, root)
    return run.method.parts["classifier"].state_dict()


@pytest.fixture(scope="module")
def finished(shards, tmp_path_factory):
    """A finished run of the first fitted method: the storage and the result."""
    storage = tmp_path_factory.mktemp("fitted")
    run = _train(settings(shards, f"method={FITTED[0]}", *SETTINGS), storage / "one")
    return storage, conclude(run)


def test_the_result_is_like_every_other(finished):
    storage, result = finished
    assert json.loads((storage / "one/result.json").read_text()) == json.loads(json.dumps(result))
    assert result["method"] == FITTED[0]
    assert "mAP" in result["metrics"]["test"]
    (entry,) = result["history"]
    assert (entry["stage"], entry["epoch"], entry["plan_epoch"]) == ("fit", 1, -1)
    assert entry["checkpoint"] == result["checkpoint"] == "stagefit-epoch001"
    assert "stages" in result["reading"]


def test_evaluating_the_run_gives_the_numbers_of_its_result(finished, tmp_path):
    from retdm.evaluate import main

    storage, result = finished
    assert main([str(storage / "one"), "--json", str(tmp_path / "m.json")]) == 0
    found = json.loads((tmp_path / "m.json").read_text())["metrics"]
    expected = result["metrics"]["test"]
    assert {name: found[name] for name in ("mAP", "OF1")} == {
        name: expected[name] for name in ("mAP", "OF1")
    }


def test_a_second_method_reads_no_training_image(finished, small, monkeypatch):
    monkeypatch.setattr(features, "open_loader", _no_loader)
    run = _train(small(f"method={FITTED[1]}", *SETTINGS), finished[0] / "two")
    assert len(run.history) == 1
    assert len(list((finished[0] / "features").iterdir())) == 1


def test_a_finished_fit_is_not_redone(finished, small, monkeypatch):
    monkeypatch.setattr(features, "split_features", _no_loader)
    again = _train(small(f"method={FITTED[0]}", *SETTINGS), finished[0] / "one")
    assert again.history == finished[1]["history"]
    saved = checkpoint.load(finished[0] / "one/checkpoints/stagefit-epoch001.pt").model
    torch.testing.assert_close(again.method.state_dict(), saved, rtol=0, atol=0)


@pytest.mark.parametrize("method", FITTED)
def test_two_ranks_end_where_one_does(ranks, small, tmp_path, method):
    config = small(f"method={method}", *SETTINGS)
    found = ranks(2).run(_rank_train, config, tmp_path / "both")
    # From the features that the two have stored: batches of other sizes can give features that
    # differ in the last bits (the test below bounds that), and the fit is steep.
    (alone,) = ranks(1).run(_rank_train, config, tmp_path / "alone")
    assert len(list((tmp_path / "features").iterdir())) == 1
    for one in found:
        torch.testing.assert_close(one, alone, rtol=0, atol=0)


def test_features_are_those_of_the_network_in_table_order(ranks, small):
    config = small(f"method={FITTED[0]}", "data.batch_size=7")
    (alone,) = [_stream(0, config)]
    data = open_split(config.data.url, "train")
    assert alone.rows.tolist() == list(range(len(data)))
    first, second = ranks(2).run(_stream, config)
    assert second is None
    np.testing.assert_allclose(first.values, alone.values, rtol=1e-5, atol=1e-5)


def _stream(rank, config):
    data = open_split(config.data.url, "train")
    method = build_method(config, labels=len(data.label_space))
    return features.stream(method, data, config, torch.device("cpu"), bad=BadSamples(0))


@pytest.mark.parametrize("change", ["data.image_size=48", "data.resize=40", "seed=1"])
def test_other_pixels_or_weights_have_another_file(small, change):
    names = set()
    for config in (small("method=mlspl"), small("method=mlspl", change)):
        data = open_split(config.data.url, "train")
        method = build_method(config, labels=len(data.label_space))
        names.add(file_name(features.describe(method, data, config)))
    assert len(names) == 2


ABOUT = {"data": "x", "split": "train"}
BAD = BadSample("train", "a.tar", "k", 5)


@pytest.fixture
def stored(tmp_path):
    """A store with a feature file, and the path of the file."""
    store = open_store(str(tmp_path))
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    write(store, ABOUT, Features(values, np.arange(4), ()))
    return store, tmp_path / file_name(ABOUT)


def test_what_is_written_is_read(stored):
    found = read(stored[0], ABOUT, images=4)
    assert found.values.tolist() == np.arange(12).reshape(4, 3).tolist()
    assert read(stored[0], ABOUT | {"split": "val"}, images=4) is None


@pytest.mark.parametrize(
    "strange",
    [
        {"values": np.zeros((4, 3), dtype="S1")},
        {"values": np.zeros(4, dtype=np.float32)},
        {"rows": np.zeros(4, dtype=np.float64)},
        {"rows": np.array([0, 1, 2, 4])},
        {"rows": np.array([-1, 1, 2, 3])},
        {"rows": np.arange(3), "values": np.zeros((3, 3), np.float32), "bad": (BAD,)},
    ],
    ids=range(6),
)
def test_arrays_of_another_kind_are_damage_whatever_their_checksum_is(stored, caplog, strange):
    store, _ = stored
    sound = {"values": np.zeros((4, 3), dtype=np.float32), "rows": np.arange(4), "bad": ()}
    write(store, ABOUT, Features(**(sound | strange)))
    assert read(store, ABOUT, images=4) is None
    assert "damaged (its arrays are of another kind); computing the fea" in caplog.messages[0]


def test_any_damage_is_noticed(stored, caplog):
    store, path = stored
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        found = read(store, ABOUT, images=4)
        # Some bytes of a zip say nothing, dates for example.
        assert found is None or np.array_equal(found.values.ravel(), np.arange(12)), position
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert read(store, ABOUT, images=4) is None
    assert "damaged" in caplog.text


def test_a_damaged_file_is_computed_again_with_a_warning(small, tmp_path, caplog):
    config = small("method=mlspl", *SETTINGS)
    _train(config, tmp_path / "one")
    (file,) = (tmp_path / "features").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:1000] + b"?" + whole[1001:])
    with caplog.at_level(logging.WARNING, logger="retdm"):
        run = _train(config, tmp_path / "two")
    assert "damaged" in caplog.text
    assert "computing the features again" in caplog.text
    assert len(run.history) == 1
    assert file.read_bytes()[1000:1001] == whole[1000:1001]


def test_start_from_has_nothing_for_a_fitted_method(finished, small, tmp_path):
    from retdm.errors import CheckpointError

    source = f"start_from={finished[0]}/one/stagefit-epoch001"
    with pytest.raises(CheckpointError, match="nothing is left to train after stage fit"):
        _train(small(f"method={FITTED[0]}", source, *SETTINGS), tmp_path / "run")
