"""What is refused before a worker starts, and that one program at a time trains a run."""

import os
import pickle
import subprocess
import sys
import time

import pytest
import ray.exceptions
import torch

from retdm.claims import announce, hold
from retdm.claims.claimant import sealed, who
from retdm.config import Config, parse
from retdm.console import Failed
from retdm.errors import CheckpointError, ConfigError, StorageError
from retdm.onray import launch
from retdm.onray.compare_plan import Cell
from retdm.onray.compare_run import run_cells
from retdm.onray.launch import _TRAINING, _check_room, _use_tensor_cores, run_on_ray
from retdm.onray.run_record import with_micro_batches
from retdm.onray.workers import Workers
from retdm.storage import join_url, open_store
from retdm.train.history import Kept, publish
from tests.train.conftest import settings

FAR = {
    **{"token": "f" * 32, "holds": True, "beat": 0},
    **{"host": "far", "pid": 1, "since": "noon", "machine": "other", "started": "1"},
}


def test_more_workers_than_this_machine_has_cores_are_refused(monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    _check_room(Config(), Workers(2, 8))
    with pytest.raises(ConfigError, match=r"--workers 3 needs 3 CPU cores .* has 2; ask"):
        _check_room(Config(), Workers(3, 3))
    monkeypatch.setenv("RAY_ADDRESS", "a-cluster:6379")
    _check_room(Config(), Workers(3, 3))


def test_gpus_that_are_required_and_not_on_this_machine_are_refused(monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0, "GPU": 1.0})
    required = parse(Config, {"run": {"gpus": "required"}}, source="test")
    _check_room(required, Workers(1, 2))
    message = r"--workers 2 needs 2 GPUs \(run.gpus is 'required'\), .* has 1; set run.gpus=auto"
    with pytest.raises(ConfigError, match=message):
        _check_room(required, Workers(2, 2))
    monkeypatch.setenv("RAY_ADDRESS", "a-cluster:6379")
    _check_room(required, Workers(2, 2))


def test_workers_wait_for_each_other_in_ray_as_long_as_in_other_collectives(
    training, shards, tmp_path, monkeypatch
):
    monkeypatch.setenv("RAY_TRAIN_COLLECTIVE_TIMEOUT_S", "of another run")
    limits = []
    training.append(lambda: limits.append(os.environ["RAY_TRAIN_COLLECTIVE_TIMEOUT_S"]))
    config = settings(shards, "method=bce", "run.collective_timeout_s=7")
    run_on_ray(config, storage=str(tmp_path), name="x", workers=Workers(1, 1), resume="auto")
    assert limits == ["7"]


def test_a_lost_process_of_ray_train_is_one_line(training, shards, tmp_path):
    def die():
        raise ray.exceptions.RayActorError("5a", "The actor is dead.\n\tip: 10.0.0.7")

    training.append(die)
    config = settings(shards, "method=bce")
    with pytest.raises(Failed, match=r"^Ray Train's controller: process on 10\.0\.0"):
        run_on_ray(config, storage=str(tmp_path), name="x", workers=Workers(1, 1), resume="auto")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.cluster)])
def storage(request, tmp_path):
    """A place for runs, of each kind."""
    if request.param == "folder":
        return str(tmp_path / "runs")
    return request.getfixturevalue("s3").url("runs")


@pytest.fixture
def train(shards, storage):
    """Trains the run "x", or another one."""

    def call(name="x", resume="auto", overrides=()):
        config = settings(shards, "method=bce", *overrides)
        return run_on_ray(config, storage=storage, name=name, workers=Workers(1, 1), resume=resume)

    return call


REFUSED = (
    rf"/x: another program trains there \(process {os.getpid()} on .*, since 20.*\); wait until "
    "it has ended, end it, or choose another --run-name$"
)


def test_a_second_program_is_refused_while_a_run_trains(training, train, storage):
    store = open_store(join_url(storage, "x"))
    seen = []

    def second():
        before = {name: store.read(name) for name in store.names()}
        with pytest.raises(ConfigError, match=REFUSED):
            train()
        seen.append({name: store.read(name) for name in store.names()} == before)

    training.append(second)
    training.append(lambda: training.clear() or train("y"))  # another run of the same storage
    train()
    assert seen == [True]
    assert store.names() == ["result.json", "run.json"]


@pytest.mark.parametrize("storage", ["folder"], indirect=True)
def test_settings_that_may_diverge_are_told_before_training(training, train, caplog):
    training.append(lambda: told.extend(caplog.messages))
    told = []
    train(overrides=("model.backbone=vgg11", "optimizer.lr=0.1"))
    assert [text for text in told if text.startswith("warning: a learning rate of 0.1 with ")]
    caplog.clear()
    train("y")
    assert not [text for text in caplog.messages if text.startswith("warning: ")]


def test_a_run_that_failed_is_free_again(training, train, storage):
    def fail():
        training.clear()
        raise CheckpointError("no")

    training.append(fail)
    with pytest.raises(CheckpointError, match="no"):
        train()
    assert train()["metrics"]
    assert open_store(join_url(storage, "x")).names() == ["result.json", "run.json"]


def test_a_run_whose_program_was_killed_goes_on_at_once(training, train, storage):
    program = (
        "import os, sys; from retdm.claims import hold; from retdm.storage import open_store\n"
        "from retdm.onray.launch import _TRAINING\n"
        "with hold(open_store(sys.argv[1]), _TRAINING): os.kill(os.getpid(), 9)"
    )
    place = join_url(storage, "x")
    assert subprocess.run([sys.executable, "-c", program, place]).returncode == -9
    assert len(open_store(place).names()) == 1
    started = time.monotonic()
    train()
    assert time.monotonic() - started < 9  # less than a heartbeat of announcements


@pytest.mark.cluster
def test_on_s3_a_program_of_a_lost_machine_counts_until_it_has_been_silent(
    s3, training, shards, monkeypatch, caplog
):
    caplog.set_level("INFO")
    monkeypatch.setattr(announce, "_HEARTBEAT_S", 0.1)
    storage = s3.url("runs")
    store = open_store(join_url(storage, "x"))
    store.write(f"_run/claim-{'f' * 32}", sealed(FAR))
    config = settings(shards, "method=bce")
    run_on_ray(config, storage=storage, name="x", workers=Workers(1, 1), resume="auto")
    assert "s whether the program of far still runs" in caplog.text
    assert store.names() == ["result.json", "run.json"]


def test_workers_do_not_begin_for_a_program_whose_run_another_took_over(
    shards, storage, monkeypatch
):
    monkeypatch.setattr(launch, "speak", lambda: None)
    store = open_store(join_url(storage, "x"))
    config = settings(shards, "method=bce").model_dump(mode="json")
    with hold(store, _TRAINING) as claim:
        store.write(claim.name, sealed(FAR))
        given = {"config": config, "run": store.url, "claim": pickle.loads(pickle.dumps(claim))}
        with pytest.raises(StorageError, match=r"this program's any more: another program took"):
            launch._worker(given)
    assert "_attempt/latest" not in store.names()


def test_what_is_wrong_with_a_run_is_told_before_it_is_claimed(training, train, tmp_path, shards):
    config = settings(shards, "method=bce")
    with pytest.raises(CheckpointError, match="no run of this name to resume"):
        run_on_ray(config, storage=str(tmp_path), name="z", workers=Workers(1, 1), resume="must")
    assert not (tmp_path / "z").exists()


def test_a_cell_that_another_comparison_trains_fails_and_the_others_go_on(
    training, shards, storage
):
    cells = [
        Cell(name, (name,), settings(shards, f"method={name}"), epochs=2)
        for name in ("bce", "softmax")
    ]
    with hold(open_store(join_url(storage, "bce")), _TRAINING):
        outcomes = run_cells(
            cells,
            storage=storage,
            workers=Workers(1, 1),
            concurrency=1,
            on_outcome=lambda outcome: None,
        )
    assert [(one.cell.name, one.how) for one in outcomes] == [
        ("bce", "failed"),
        ("softmax", "trained"),
    ]
    process = f"process {os.getpid()} on {who()['host']}"
    assert f"/bce: another program trains there ({process}" in outcomes[0].error


def test_matrix_products_keep_the_bits_by_which_neighbours_are_ranked():
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = False
    _use_tensor_cores()  # which leaves torch's defaults
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("asked", "set_to", "settled"),
    [("2", 0, 0), ("1:4", 0, 4), ("1:4", 8, 8), ("2", 8, 8)],
)
def test_a_range_of_workers_has_as_many_micro_batches_as_it_may_have_workers(
    tmp_path, asked, set_to, settled
):
    config = parse(Config, {"run": {"micro_batches": set_to}}, source="test")
    store = open_store(str(tmp_path))
    found = with_micro_batches(config, store, Workers.parse(asked))
    assert found.run.micro_batches == settled


def test_a_run_keeps_its_micro_batches_whatever_workers_it_goes_on_with(training, shards, storage):
    config = settings(shards, "method=bce")
    store = open_store(join_url(storage, "x"))
    run_on_ray(config, storage=storage, name="x", workers=Workers(1, 4), resume="auto")
    assert with_micro_batches(config, store, Workers(2, 2)).run.micro_batches == 0
    first = Kept(name="s1", stage="1", epoch=0, next_batch=1, step=1, sha256="0" * 64)
    publish(store, [], [first])
    for workers in (Workers(2, 2), Workers(1, 3)):
        assert with_micro_batches(config, store, workers).run.micro_batches == 4
    message = "8 workers cannot share 4 micro-batches, .* that the run has; ask for 4 at most"
    with pytest.raises(ConfigError, match=message):
        with_micro_batches(config, store, Workers(8, 8))
