"""Methods that begin with the same stage can share one run of it."""

import pytest
import torch

from retdm.errors import CheckpointError
from retdm.storage import open_store
from retdm.train.history import best, kept_checkpoints
from retdm.train.loop import train
from retdm.train.session import LocalSession
from tests.train.conftest import settings


def run(config, folder):
    return train(config, LocalSession(), open_store(str(folder)))


@pytest.fixture(scope="module")
def shared(shards, tmp_path_factory):
    """Checkpoint of a BCE run that stops after stage 1, and its folder."""
    folder = tmp_path_factory.mktemp("stage1")
    run(settings(shards, "method=bce", "stages.3.epochs=0"), folder)
    return f"{folder}/stage1-epoch001"


@pytest.mark.parametrize("method", ["retdm", "bce"])
def test_a_shared_stage_gives_the_run_that_did_it_itself(small, shared, tmp_path, method):
    alone = run(small(f"method={method}"), tmp_path / "alone")
    after = run(small(f"method={method}", f"start_from={shared}"), tmp_path / "after")
    torch.testing.assert_close(
        after.method.state_dict(), alone.method.state_dict(), rtol=0, atol=0
    )
    assert after.progress == alone.progress
    hidden = {"images_per_s", "wait_share", "rank_score"}
    plain = [
        [{k: v for k, v in e.items() if k not in hidden} for e in r.history]
        for r in (after, alone)
    ]
    assert plain[0] == plain[1]


def test_its_checkpoints_are_never_the_best(small, shared, tmp_path):
    after = run(small("method=bce", f"start_from={shared}"), tmp_path)
    assert best(after.history, kept_checkpoints(after.store))["stage"] == "3"


@pytest.mark.parametrize(
    "change, message",
    [
        ("seed=1", "seed was 0, is 1"),
        ("model.dropout=0.1", r"model\.dropout: 0\.5 there, 0\.1 here"),
        ("stages.1.epochs=2", "stages up to 1"),
        ("loss.bce_reduction=mean", r"loss\.bce_reduction: sum there, mean here"),
        ("stages.3.epochs=0", "nothing is left to train after stage 1"),
    ],
)
def test_another_beginning_is_refused(small, shared, tmp_path, change, message):
    with pytest.raises(CheckpointError, match=message):
        run(small("method=bce", f"start_from={shared}", change), tmp_path)


def test_parts_that_the_method_lacks_are_refused_by_name(small, tmp_path):
    run(small("method=retdm", "stages.2.epochs=0", "stages.3.epochs=0"), tmp_path / "first")
    begin = f"start_from={tmp_path}/first/stage1-epoch001"
    with pytest.raises(CheckpointError, match=r"parts that method bce lacks \(label, reconstr"):
        run(small("method=bce", begin), tmp_path / "second")


def test_a_loss_with_other_settings_is_refused(small, tmp_path):
    run(small("method=asl", "stages.3.epochs=0"), tmp_path / "first")
    begin = f"start_from={tmp_path}/first/stage1-epoch001"
    with pytest.raises(CheckpointError, match=r"asl\.clip: 0\.05 there, 0\.1 here"):
        run(small("method=asl", begin, "asl.clip=0.1"), tmp_path / "second")
