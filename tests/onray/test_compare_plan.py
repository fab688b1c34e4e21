"""Which cells a comparison plans: what makes two of them one, and what is shared."""

from pathlib import Path

import pytest

from retdm.config import Config, apply_overrides, parse
from retdm.errors import ConfigError
from retdm.methods import METHODS, build_method
from retdm.onray.compare_plan import Column, plan_cells, plan_columns, without_effect
from tests.methods.test_looks_at import OTHER, Bits

SCENE = Path(__file__).resolve().parents[2] / "jobs/recipes/scene.toml"
RECIPE = """
[data]
url = "nowhere"
image_size = 32
[model]
backbone = "resnet18"
weights = "none"
embedding = 8
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return str(path)


def cells(recipe, methods=(), variants=(), overrides=(), seeds=(0,), digest="d" * 64):
    columns = plan_columns(recipe, methods, variants, overrides)
    return plan_cells(columns, seeds, labels=5, data_digest=digest)


def names(*args, **kwargs):
    return [cell.name for cell in cells(*args, **kwargs) if cell.columns]


def test_methods_that_begin_with_bce_share_its_stage_for_each_seed(recipe):
    found = cells(recipe, ["bce", "retdm", "retdm-one-way"], seeds=[0, 3])
    shared = [cell for cell in found if not cell.columns]
    assert [(cell.config.seed, cell.config.method) for cell in shared] == [(0, "bce"), (3, "bce")]
    for cell in found:
        if cell.columns:
            (before,) = [one for one in shared if one.config.seed == cell.config.seed]
            assert cell.shared == before.name
            assert found.index(before) < found.index(cell)
    assert [stage.epochs for stage in shared[0].config.stages.values()] == [20, 0, 0]
    assert {cell.columns: cell.epochs for cell in found} == {
        (): 20,
        ("bce",): 20,
        ("retdm",): 40,
        ("retdm-one-way",): 40,
    }


def test_another_classification_shares_nothing(recipe):
    (cell,) = cells(recipe, ["asl"])
    assert (cell.shared, cell.epochs) == ("", 40)


def test_a_run_of_one_stage_does_it_itself(recipe):
    (cell,) = cells(recipe, ["bce"], overrides=["stages.3.epochs=0"])
    assert cell.shared == ""
    assert cell.epochs == 20


def test_settings_that_shape_the_shared_stage_make_another_one(recipe):
    plain, other = (
        cells(recipe, ["bce"], overrides=given)[0].name for given in ([], ["model.dropout=0.1"])
    )
    assert plain != other
    variants = ["raw:method=retdm,loss.score=neg_dist", "unit:method=retdm,loss.score=inv"]
    assert len({cell.shared for cell in cells(recipe, variants=variants)}) == 2  # "" and one


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("bce", "loss.tau=0.3"),
        ("bce", "bank.size=7"),
        ("bce", "stages.2.epochs=3"),
        ("bce", "asl.clip=0.2"),
        ("retdm", "asl.clip=0.2"),
        ("lmmo-knn", "loss.lambda1=0.3"),
        ("lmmo-knn", "loss.bce_reduction=mean"),
        ("lmmo-knn", "optimizer.lr=0.3"),
        ("lmmo-knn", "data.batch_size=8"),
        ("lmmo-knn", "data.shuffle_window=2"),
        ("softmax", "loss.bce_reduction=mean"),
        ("warp", "loss.bce_reduction=mean"),
        ("c2ae", "loss.bce_reduction=mean"),
        ("cnn-rnn", "loss.bce_reduction=mean"),
        ("center", "loss.gamma=0.3"),
        ("retdm-one-way", "loss.gamma=0.3"),
        ("retdm", "loss.margin=0.3"),
        ("retdm", "loss.penalty_reduction=mean"),
        ("mlspl", "run.precision=bf16"),
        ("mlspl", "bank.size=7"),
        ("mlspl", "model.dropout=0.1"),
        ("retdm", "data.url=elsewhere"),
        ("retdm", "data.loader_workers=0"),
        ("retdm", "run.max_failures=9"),
    ],
)
def test_what_a_method_does_not_look_at_leaves_its_cell_alone(recipe, method, change):
    assert names(recipe, [method]) == names(recipe, [method], overrides=[change])


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("bce", "loss.bce_reduction=mean"),
        ("bce", "stages.3.epochs=3"),
        ("bce", "data.shuffle_window=2"),
        ("retdm", "loss.tau=0.3"),
        ("retdm", "stages.2.lr=0.3"),
        ("retdm", "loss.gamma=0.3"),
        ("asl", "asl.clip=0.2"),
        ("asl", "loss.bce_reduction=mean"),
        ("center", "loss.bce_reduction=mean"),
        ("softmax", "data.batch_size=8"),
        ("mlspl", "data.image_size=48"),
    ],
)
def test_what_decides_results_makes_another_cell(recipe, method, change):
    assert names(recipe, [method]) != names(recipe, [method], overrides=[change])


@pytest.mark.parametrize("method", METHODS)
def test_the_cell_changes_with_what_its_method_says_that_it_looks_at(recipe, method, monkeypatch):
    for kind in ("image", "feature"):
        monkeypatch.setattr(f"retdm.methods.registry.build_{kind}_net", lambda *_, **__: Bits())
    model = build_method(parse(Config, {"method": method}, source="test"), 5)
    (before,) = names(recipe, [method])
    for key, value in OTHER.items():
        (after,) = names(recipe, [method], overrides=[f"{key}={value}"])
        assert (after != before) == bool(model.looks_at & {key, key.partition(".")[0]}), key


def test_a_setting_that_the_score_or_penalty_leaves_out_decides_nothing(recipe):
    plain = "x:method=retdm,loss.score=inv,loss.penalty=nll_plus_hinge"
    for change in ("loss.tau=0.3", "loss.margin=0.3"):
        assert names(recipe, variants=[plain]) == names(recipe, variants=[f"{plain},{change}"])
    other = f"{plain},loss.penalty_reduction=mean"
    assert names(recipe, variants=[plain]) != names(recipe, variants=[other])


def test_a_fitted_method_keeps_the_batch_that_fits_into_memory(recipe):
    (cell,) = cells(recipe, ["lmmo-knn"], overrides=["data.batch_size=8"])
    assert cell.config.data.batch_size == 8
    assert ("data", "batch_size") in cell.unused


def test_the_cells_of_the_scene_recipe_keep_their_names():
    """Others have trained them."""
    methods = [name for name in METHODS if name not in ("lmmo-knn", "mlspl")]
    variants = [
        "literal:method=retdm,loss.score=neg_dist,loss.penalty=nll_plus_hinge,loss.lambda1=0.1",
        "sharp:method=retdm,loss.tau=0.2,loss.lambda1=0.5",
    ]
    columns = plan_columns(str(SCENE), methods, variants, ["data.url=s3://photos/scene"])
    found = plan_cells(columns, [0], labels=5, data_digest="d" * 64)
    assert {cell.columns: cell.name.rpartition("-")[2] for cell in found} == {
        (): "165378f0",
        ("bce",): "bcaea34f",
        ("asl",): "0896d6d2",
        ("softmax",): "230659a0",
        ("warp",): "e5bfd743",
        ("center",): "ffa608f5",
        ("c2ae",): "1f113856",
        ("cnn-rnn",): "18801962",
        ("retdm",): "a41b09b1",
        ("retdm-one-way",): "bd980cbc",
        ("retdm-four-way",): "8041132c",
        ("literal",): "04d29b59",
        ("sharp",): "382f11e7",
    }


def test_other_data_make_other_cells(recipe):
    assert names(recipe, ["bce"]) != names(recipe, ["bce"], digest="e" * 64)


def test_a_setting_that_comes_to_exist_keeps_the_names_of_cells(recipe):
    """Names hold only what differs from the defaults; this one must never change."""
    table = apply_overrides({}, ["data.url=u", "method=bce", "model.backbone=resnet18"])
    columns = [Column("bce", parse(Config, table, source="test"))]
    found = plan_cells(columns, [0], labels=5, data_digest="d" * 64)
    assert [cell.name for cell in found] == ["stage1-s0-9f8bf06a", "bce-s0-764c3d53"]


def test_columns_with_the_same_settings_are_one_cell(recipe):
    found = cells(recipe, ["retdm"], ["again:method=retdm,loss.k=10"])
    assert [cell.columns for cell in found] == [(), ("retdm", "again")]


def test_a_column_that_shows_the_runs_of_another_says_which_settings_have_no_effect(recipe):
    variants = [
        "again:method=retdm,loss.k=10",
        "narrow:method=retdm,loss.margin=0.3,asl.clip=0.2,stages.1.lr=0.1",
        "moved:method=bce,loss.tau=0.3,data.cache_bytes=7",
    ]
    columns = plan_columns(recipe, ["bce", "retdm"], variants, ["stages.1.lr=0.1"])
    found = plan_cells(columns, [0, 1], labels=5, data_digest="d" * 64)
    assert without_effect(columns, found) == [
        "column moved shows the runs of bce: data.cache_bytes, loss.tau without effect on method "
        "bce",
        "column again shows the runs of retdm: has the same settings",
        "column narrow shows the runs of retdm: asl.clip, loss.margin without effect on method "
        "retdm",
    ]
    found = plan_cells(columns[:2], [0], labels=5, data_digest="d" * 64)
    assert without_effect(columns[:2], found) == []


def test_a_variant_may_hold_lists(recipe):
    (column,) = plan_columns(
        recipe, [], ['head:method=bce,stages.1.train=["classifier", "image"],loss.k=3'], []
    )
    assert column.config.stages["1"].train == ("classifier", "image")
    assert column.config.loss.k == 3


@pytest.mark.parametrize(
    ("methods", "variants", "overrides", "message"),
    [
        ([], [], [], "nothing to compare; give --methods"),
        (["bce", "bce"], [], [], "bce: named more than once"),
        (["bce"], ["bce:loss.k=3"], [], "bce: named more than once"),
        (["bce"], ["raw"], [], "write it as NAME:key=value"),
        (["bce"], ["a b:loss.k=3"], [], "write it as NAME:key=value"),
        (["bce"], ["x:=1"], [], "--variant x '=1' has no setting before '='"),
        (["bce"], ["x:data.url.y=1"], [], "--variant x data.url.y: url is a value, not a table"),
        (["bce"], ["x:seed=3"], [], "--variant x seed=3: give --seeds instead"),
        (["bce"], [], ["seed=3"], "--set seed=3: give --seeds instead"),
        (["bce"], [], ["method=bce"], "--set method=bce: give --methods instead"),
        (["bce"], [], ["start_from=x"], "start_from is set; leave it out"),
        (["bce"], ["x:loss.kk=3"], [], "unknown setting loss.kk; did you mean loss.k?"),
    ],
)
def test_wrong_columns_are_refused(recipe, methods, variants, overrides, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        plan_columns(recipe, methods, variants, overrides)


def test_a_bank_that_no_loss_reads_decides_nothing(recipe):
    center = "center:method=center,center.reading=multi_hot"
    assert names(recipe, variants=[center]) == names(recipe, variants=[f"{center},bank.size=7"])


def test_cells_know_the_readings_of_their_methods(recipe):
    shared, retdm = cells(recipe, ["retdm"], seeds=[3])
    assert "score" in retdm.reading
    assert "score" not in shared.reading
    assert "bce" in shared.reading


def test_an_unknown_method_is_refused_before_anything_runs(recipe):
    with pytest.raises(ConfigError, match="did you mean retdm"):
        cells(recipe, ["retd"])
