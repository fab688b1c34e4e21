"""What a checkpoint refuses: damage, code, other labels, other settings."""

import contextlib
import pickle
import zipfile

import pytest
import torch

from retdm.data.plan import Position
from retdm.errors import CheckpointError
from retdm.labels import LabelSpace
from retdm.train.checkpoint import (
    Progress,
    TrainingState,
    check_labels,
    check_settings,
    load,
    save,
)
from tests.checkpoints import epoch_entry


def _data(digest):
    return Position(seed=0, epoch=2, next_batch=0, digest=digest, batch_size=8, window=16)


def _state():
    return TrainingState(
        model={"w": torch.arange(3.0)},
        optimizer={},
        bank={},
        progress=Progress(_data("d" * 64), stage="2", epoch=0, step=7),
        history=[epoch_entry(**{"val/OF1": 0.5})],
        bad_samples=[],
        config={"seed": 0},
        labels=("a", "b"),
    )


def test_what_is_saved_is_loaded(tmp_path):
    save(_state(), tmp_path / "a.pt")
    loaded = load(tmp_path / "a.pt")
    assert torch.equal(loaded.model["w"], torch.arange(3.0))
    assert (loaded.progress, loaded.history) == (_state().progress, _state().history)
    assert loaded.label_space == LabelSpace(("a", "b"))


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_torn_file_is_named(tmp_path, keep):
    path = tmp_path / "a.pt"
    save(_state(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"a\.pt: not a whole checkpoint .*earlier"):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.pt: no such file, so this is not a chec"):
        load(tmp_path / "a.pt")


class _Evil:
    def __reduce__(self):
        return (eval, ("1/0",))


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o, 2))])
def test_code_in_a_checkpoint_is_not_run(tmp_path, write):
    write({"model": _Evil()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        load(tmp_path / "a.pt")


def test_other_labels_are_refused_by_name():
    message = r"the run was made for 2 labels, s3://x has 3 \(extra: c\); use the shard set"
    with pytest.raises(CheckpointError, match=message):
        check_labels(
            LabelSpace(("a", "b")), LabelSpace(("a", "b", "c")), what="the run", data="s3://x"
        )


def test_other_shards_are_refused():
    position = _state().progress.data
    message = r"another order of the data \(data digest was d{64}, is e{64}\)"
    with pytest.raises(CheckpointError, match=message):
        position.check(_data("e" * 64))


def _settings(**changes):
    stages = {name: {"epochs": 2} for name in "123"}
    return {"seed": 0, "run": {"gpus": "auto", "precision": "fp32"}, "stages": stages} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"seed": 1},
            r"x: the run was started with other settings \(seed: 0 -> 1\); use the same",
        ),
        ({"run": {"gpus": "auto", "precision": "bf16"}}, r"run\.precision: fp32 -> bf16"),
        ({"stages": {"1": {"epochs": 3}, "2": {"epochs": 2}, "3": {"epochs": 2}}}, r"stages\.1\."),
        ({"stages": {"1": {"epochs": 2}, "2": {"epochs": 0}, "3": {"epochs": 2}}}, r"stages\.2\."),
    ],
    ids=["seed", "precision", "epochs-of-a-stage-that-is-over", "fewer-epochs-than-done"],
)
def test_settings_that_decide_results_may_not_change(changes, message):
    with pytest.raises(CheckpointError, match=message):
        check_settings(_settings(), _settings(**changes), stage="2", epoch=1, run="x")


def test_machines_and_epochs_to_come_may_change():
    stages = {"1": {"epochs": 2}, "2": {"epochs": 1}, "3": {"epochs": 9}}
    now = _settings(run={"gpus": "none", "precision": "fp32"}, stages=stages)
    check_settings(_settings(), now, stage="2", epoch=1, run="x")


def _rewritten(path, change, method=zipfile.ZIP_STORED):
    """The checkpoint of `_state`, its members as `change` leaves them."""
    save(_state(), path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


def test_a_compressed_archive_is_refused_before_it_can_grow(tmp_path):
    _rewritten(tmp_path / "a.pt", lambda name, content: content, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"\(it is compressed, which torch.save never does"):
        load(tmp_path / "a.pt")


def test_parts_that_overlap_are_refused(tmp_path):
    _rewritten(tmp_path / "a.pt", lambda name, content: content)
    content = bytearray((tmp_path / "a.pt").read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = (1 << 30).to_bytes(4, "little")
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="its parts claim to be larger than the whole"):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"byteorder", b"byteordex"),
        (b"ctorch\n", b"ctorck\n"),
        (b"K\x02", b"a\x02"),
        (b"(", b"."),
        (b"X\x08", b"X\xff"),
        (b"FloatStorage", b"\xff\xfeoatStorag"),
    ],
)
def test_another_program_for_the_unpickler_is_damage_or_does_no_harm(tmp_path, old, new):
    def change(name, content):
        return content.replace(old, new, 1) if name.endswith("data.pkl") else content

    _rewritten(tmp_path / "a.pt", change)
    with contextlib.suppress(CheckpointError):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"big\xff", b"littlelittle", b""])
def test_a_byte_order_that_there_is_not_is_damage(tmp_path, content):
    _rewritten(tmp_path / "a.pt", lambda n, c: content if n.endswith("byteorder") else c)
    with pytest.raises(CheckpointError, match=r"a\.pt: not a whole checkpoint \(.*earlier"):
        load(tmp_path / "a.pt")
