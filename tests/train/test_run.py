"""Whole runs in one process, and resume on two: stages, resume, results."""

import json
import shutil

import pytest
import torch

from retdm.data.manifest import load_manifest
from retdm.errors import CheckpointError, DivergenceError
from retdm.storage import open_store
from retdm.train import checkpoint
from retdm.train.loop import train
from retdm.train.result import conclude
from retdm.train.session import LocalSession
from tests.methods.variants import VARIANTS
from tests.train.conftest import settings

pytestmark = pytest.mark.slow
WHOLE = ("stages.1.epochs=2", "run.deterministic=true", "checkpoint.keep_best=9")


class Interrupted(Exception):
    """Stands for a killed process."""


class Fragile(LocalSession):
    """Dies right after its n-th report."""

    def __init__(self, reports):
        self.left = reports

    def report(self, metrics):
        self.left -= 1
        if not self.left:
            raise Interrupted


def _train(config, root, session=None):
    return train(config, session or LocalSession(), open_store(str(root)))


def _weights(root, name):
    return checkpoint.load(root / checkpoint.file_of(name)).model


def _part(weights, *parts):
    return {key: value for key, value in weights.items() if key.split(".")[1] in parts}


def _equal(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.fixture(scope="module")
def finished(shards, tmp_path_factory):
    """A finished, unbroken RETDM run: its folder, live objects and result."""
    root = tmp_path_factory.mktemp("finished")
    run = _train(settings(shards, *WHOLE), root)
    return root, run, conclude(run)


def test_stage_1_leaves_the_label_parts_untouched(finished, small):
    from retdm.methods import build_method

    root, run, _ = finished
    fresh = build_method(small(), labels=len(run.train_data.label_space)).state_dict()
    after = _weights(root, "stage1-epoch001")
    _equal(_part(fresh, "label", "reconstruction"), _part(after, "label", "reconstruction"))
    changed = _part(after, "image", "classifier")
    assert any(not torch.equal(value, fresh[key]) for key, value in changed.items())


def test_stage_2_leaves_image_net_and_classifier_bit_identical(finished):
    root, _, _ = finished
    before, after = _weights(root, "stage1-epoch002"), _weights(root, "stage2-epoch001")
    _equal(_part(before, "image", "classifier"), _part(after, "image", "classifier"))
    for part in ("label", "reconstruction"):
        moved = _part(after, part)
        assert any(not torch.equal(value, before[key]) for key, value in moved.items()), part


def test_stage_3_trains_everything(finished):
    root, _, _ = finished
    before, after = _weights(root, "stage2-epoch001"), _weights(root, "stage3-epoch001")
    for part in ("image", "classifier", "label", "reconstruction"):
        moved = _part(after, part)
        assert any(not torch.equal(value, before[key]) for key, value in moved.items()), part


def test_the_result_holds_what_scripts_read(finished):
    root, _, result = finished
    assert json.loads((root / "result.json").read_text()) == json.loads(json.dumps(result))
    wanted = {"run", "method", "reading", "seed", "world_size", "config", "metrics", "history"}
    assert wanted | {"data_digest", "versions"} <= result.keys()
    names = "mAP CP CR CF1 OP OR OF1 hamming_loss ranking_loss coverage one_error"
    assert {*names.split(), "average_precision", "top3.OF1", "toolbox.coverage"} <= set(
        result["metrics"]["test"]
    )
    assert result["checkpoint"].startswith("stage3")
    assert result["reading"]["score"] == "unit_sq_tau, tau 0.5"


def test_the_log_names_every_loss_part(finished):
    root, _, _ = finished
    lines = [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "step"][-1]
    assert {"bce", "metric", "way1", "way2", "reconstruction", "total"} <= last.keys()
    assert [line["stage"] for line in lines if line["kind"] == "epoch"] == ["1", "1", "2", "3"]
    assert list((root / "tensorboard").iterdir())


@pytest.mark.parametrize("reports", [1, 2, 4])
def test_a_run_cut_short_ends_where_the_unbroken_run_ends(finished, small, tmp_path, reports):
    config, cut = small(*WHOLE), tmp_path / "cut"
    with pytest.raises(Interrupted):
        _train(config, cut, Fragile(reports))
    _train(config, cut)
    whole = checkpoint.load(finished[0] / checkpoint.file_of("stage3-epoch001"))
    resumed = checkpoint.load(cut / checkpoint.file_of("stage3-epoch001"))
    _equal(whole.model, resumed.model)
    assert whole.progress == resumed.progress
    for name, value in whole.bank.items():
        same = torch.equal(value, resumed.bank[name]) if torch.is_tensor(value) else None
        assert same if same is not None else value == resumed.bank[name], name
    timings = {"images_per_s", "wait_share"}
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert {k: v for k, v in one.items() if k not in timings} == {
            k: v for k, v in other.items() if k not in timings
        }
    steps = [json.loads(line)["step"] for line in (cut / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - {"retdm"}))
def test_every_method_resumes_where_it_was_cut_off(small, tmp_path, name):
    config = small(*VARIANTS[name], "stages.2.epochs=0")
    whole = _train(config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        _train(config, tmp_path / "cut", Fragile(min(2, len(whole.history))))
    resumed = _train(config, tmp_path / "cut")
    _equal(whole.method.state_dict(), resumed.method.state_dict())
    assert whole.progress == resumed.progress


def _rank_train(rank, config, root, reports):
    """What one rank ends with; cut off after so many reports, unless that is 0."""
    session = Fragile(reports) if reports else None
    try:
        run = _train(config, root, session)
    except Interrupted:
        return None
    bank = {} if run.bank is None else run.bank.state_dict()
    return run.method.state_dict(), bank, run.progress


@pytest.mark.parametrize(
    "name", ["retdm", "retdm-four-way", "center", "center, multi hot", "c2ae"]
)
def test_two_ranks_resume_where_they_were_cut_off(ranks, small, tmp_path, name):
    # Stage 3 alone is that of all losses; its second epoch begins with a bank from the first, and
    # is cut off just before its checkpoint.
    more = (
        "stages.1.epochs=0",
        "stages.2.epochs=0",
        "stages.3.epochs=2",
        "run.deterministic=true",
    )
    config = small(*VARIANTS[name], *more)
    whole = ranks(2).run(_rank_train, config, tmp_path / "whole", 0)
    assert ranks(2).run(_rank_train, config, tmp_path / "cut", 2) == [None, None]
    resumed = ranks(2).run(_rank_train, config, tmp_path / "cut", 0)
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_a_finished_run_can_be_given_more_epochs(small, tmp_path):
    short = _train(small("method=bce"), tmp_path).history
    longer = _train(small("method=bce", "stages.3.epochs=2"), tmp_path).history
    assert longer[:2] == short
    assert [entry["checkpoint"] for entry in longer[2:]] == ["stage3-epoch002"]


def test_bce_skips_the_stage_in_which_it_has_nothing_to_train(small, tmp_path):
    run = _train(small("method=bce"), tmp_path)
    assert [entry["stage"] for entry in run.history] == ["1", "3"]
    assert run.bank is None


def test_a_checkpoint_is_refused_for_other_settings(small, tmp_path):
    _train(small("stages.2.epochs=0", "stages.3.epochs=0"), tmp_path)
    with pytest.raises(CheckpointError, match=r"other settings \(loss\.lambda1: 1\.0 -> 0\.5\)"):
        _train(small("loss.lambda1=0.5"), tmp_path)


def test_divergence_names_stage_step_part_and_remedy(small, tmp_path):
    message = (
        r"stage 1, step \d+: .*\w+ is (nan|inf).*the weights are at fault; 4 steps of this run "
        r"had to be skipped \(at the end \d, \d, \d, \d\), run\.max_skipped_steps=3 allows for no "
        r"more; lower optimizer\.lr \(now 1e\+10\) or set optimizer\.clip_norm, under ano"
    )
    with pytest.raises(DivergenceError, match=message):
        _train(small("optimizer.lr=1e10", "data.batch_size=4"), tmp_path)


def test_scores_that_are_not_finite_end_the_run_too(small, tmp_path):
    message = (
        r"stage 1: the network's scores are not finite numbers after this epoch; "
        r"lower optimizer\.lr \(now 1e\+10\) or set optimizer\.clip_norm, under another"
    )
    with pytest.raises(DivergenceError, match=message):
        _train(small("optimizer.lr=1e10"), tmp_path)


def test_evaluating_on_other_labels_is_refused_by_name(finished, shards, tmp_path, capsys):
    from retdm import console
    from retdm.evaluate import main

    manifest = load_manifest(open_store(str(shards)))
    renamed = manifest.model_copy(update={"labels": ("comet", *manifest.labels[1:])})
    shutil.copytree(shards, tmp_path / "other")
    (tmp_path / "other" / "manifest.json").write_bytes(renamed.to_bytes())
    arguments = [str(finished[0]), "--data", str(tmp_path / "other")]
    assert console.run(lambda: main(arguments)) == 2
    error = capsys.readouterr().err
    assert "was made for 12 labels" in error
    assert "extra: comet" in error
    assert "use the shard set it was trained on" in error


def test_evaluating_the_run_gives_the_numbers_of_its_result(finished, tmp_path):
    from retdm.evaluate import main

    root = finished[0]
    assert main([str(root), "--json", str(tmp_path / "m.json")]) == 0
    assert (
        json.loads((tmp_path / "m.json").read_text())["metrics"]
        == json.loads((root / "result.json").read_text())["metrics"]["test"]
    )


def test_evaluating_a_run_shows_its_own_methods_published_row(small, tmp_path, capsys):
    from retdm.evaluate import main

    _train(small("method=center", "stages.2.epochs=0", "stages.3.epochs=0"), tmp_path / "run")
    arguments = ["--dataset", "scene", "--json", str(tmp_path / "m.json")]
    assert main([str(tmp_path / "run"), *arguments]) == 0
    table = capsys.readouterr().out
    assert "CL (paper)" in table
    assert "C2AE: no targets (neither loss column" in table
    assert json.loads((tmp_path / "m.json").read_text())["method"] == "center"
