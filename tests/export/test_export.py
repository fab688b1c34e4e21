"""`python -m retdm.export`: a bundle that predicts by itself, and ONNX that is checked."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import retdm
from retdm import console
from retdm.errors import CheckpointError, ConfigError
from retdm.export.__main__ import main
from retdm.predict.__main__ import main as predict_main
from retdm.storage import open_store


def run(*arguments):
    return console.run(lambda: main([str(a) for a in arguments]))


@pytest.fixture(scope="module")
def photos(trained, tmp_path_factory):
    return trained.photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "scenes"
    assert run(trained.run("retdm"), "--bundle", folder) == 0
    return folder


@pytest.mark.parametrize("method", ["lmmo-knn", "mlspl", "cnn-rnn"])
def test_the_bundle_of_any_method_is_the_run(trained, photos, tmp_path, method):
    url = trained.run(method)
    assert run(url, "--bundle", tmp_path / "b") == 0
    np.testing.assert_array_equal(
        retdm.load(str(tmp_path / "b")).scores(photos), retdm.load(url).scores(photos)
    )


def test_a_bundle_has_labels_thresholds_and_embeddings_of_the_run(trained, bundle, photos):
    mine, run_ = retdm.load(str(bundle)), retdm.load(trained.run("retdm"))
    assert mine.labels == run_.labels
    assert mine.fitted.tolist() == run_.fitted.tolist()
    assert mine.predict(photos) == run_.predict(photos)
    np.testing.assert_array_equal(mine.embed(photos), run_.embed(photos))
    assert (mine.origin.run, mine.origin.checkpoint) == ("retdm", run_.origin.checkpoint)
    assert mine.origin.data_digest == run_.origin.data_digest
    assert sorted(os.listdir(bundle)) == ["README.md", "bundle.json", "model.safetensors"]


def test_a_bundle_predicts_where_ray_cannot_be_imported(trained, bundle, photos, tmp_path):
    """In a process of its own, in which importing Ray or what trains fails."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(bundle, moved)
    out = tmp_path / "o.jsonl"
    code = (
        "import sys\n"
        "for name in ('ray', 'optuna', 'tensorboard', 'retdm.train', 'retdm.onray'):\n"
        "    sys.modules[name] = None\n"
        "from retdm.predict.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    given = [str(moved), *map(str, photos), "--json", str(out)]
    subprocess.run([sys.executable, "-c", code, *given], check=True, cwd=tmp_path)
    model = retdm.load(trained.run("retdm"))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    found = np.array([[row["scores"][name] for name in model.labels] for row in rows])
    np.testing.assert_allclose(found, model.scores(photos), atol=1e-6)


def test_the_card_has_the_measured_numbers_and_the_digest_of_the_data(trained, bundle):
    result = json.loads(open_store(trained.run("retdm")).read("result.json"))
    text = (bundle / "README.md").read_text()
    for name in ("mAP", "OF1", "fitted.OF1"):
        assert f"| {name} | {result['metrics']['test'][name]:.4f} |" in text
    assert result["data_digest"] in text
    for label, threshold in result["thresholds"].items():
        assert f"| {label} | {threshold:.4f} |" in text
    for about, reading in result["reading"].items():
        assert f"| {about} | {reading} |" in text
    assert f"torch {result['versions']['torch']}" in text


def test_a_checkpoint_that_was_not_measured_has_a_card_that_says_so(trained, tmp_path):
    given = ["--checkpoint", "stage2-epoch001", "--bundle", tmp_path / "b"]
    assert run(trained.run("retdm"), *given) == 0
    text = (tmp_path / "b/README.md").read_text()
    assert "Nothing: the run has no result for this checkpoint." in text
    assert retdm.load(str(tmp_path / "b")).fitted is None


def test_names_cannot_break_the_cards_tables():
    from retdm.export.card import _table

    assert _table(("a",), [("x|y\n<b>",)]) == "| a |\n| --- |\n| x\\|y &lt;b> |"


def test_predict_takes_a_bundle(bundle, photos, tmp_path):
    arguments = [str(bundle), str(photos[0]), "--json", str(tmp_path / "o")]
    assert predict_main(arguments) == 0
    assert json.loads((tmp_path / "o").read_text())["image"] == str(photos[0])


def edited(bundle, to, change):
    shutil.copytree(bundle, to)
    about = json.loads((to / "bundle.json").read_text())
    change(about)
    (to / "bundle.json").write_text(json.dumps(about))
    return str(to)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: a.update(version=2), r"bundle\.json: version: Input should be 1; copy the bu"),
        (lambda a: a.update(labels=[]), r"bundle\.json: the label space is empty"),
        (lambda a: a["thresholds"].popitem(), "thresholds of other labels than it lists; copy"),
        (lambda a: a["thresholds"].update(sea=2.0), "thresholds.*: Input should be less than or"),
        (lambda a: a.update(weights_sha256="0" * 64), r"model\.safetensors: its SHA-256 is "),
        (lambda a: a["config"].update(method="bce"), "its weights do not fit its settings"),
        (lambda a: a["config"].update(metod="bce"), "config: unknown setting metod; did you mean"),
        (
            lambda a: a.update(threshold=0.25),
            "threshold and preprocessing are not those of config",
        ),
        (
            lambda a: a["preprocessing"].update(size=33),
            "threshold and preprocessing are not those",
        ),
    ],
    ids=range(9),
)
def test_a_bundle_that_was_changed_is_refused(bundle, tmp_path, change, message):
    url = edited(bundle, tmp_path / "b", change)
    with pytest.raises((CheckpointError, ConfigError), match=message):
        retdm.load(url)


def test_a_bundle_that_is_no_json_or_has_no_weights_is_refused(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "b")
    (tmp_path / "b/bundle.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"bundle\.json: Expecting property.*; copy the bun"):
        retdm.load(str(tmp_path / "b"))


def test_a_checkpoint_of_a_bundle_cannot_be_chosen(bundle):
    with pytest.raises(ConfigError, match="a bundle, which has one checkpoint; 'latest' can be"):
        retdm.load(str(bundle), checkpoint="latest")


def test_without_safetensors_the_command_to_install_it_is_told(bundle, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: n != "safetensors" and find(n))
    with pytest.raises(
        ConfigError, match=r"a bundle needs safetensors, which is not installed; run pip install "
    ):
        retdm.load(str(bundle))


@pytest.mark.parametrize("name", ["bundle.json", "model.safetensors", "README.md"])
def test_nothing_that_is_there_is_overwritten(trained, tmp_path, name, capsys):
    (tmp_path / name).write_text("mine")
    assert run(trained.run("retdm"), "--bundle", tmp_path) == 2
    assert f"there is a {name} already; give another folder" in capsys.readouterr().err
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_bundle_of_a_bundle_is_refused(bundle, tmp_path, capsys):
    assert run(bundle, "--bundle", tmp_path / "b") == 2
    assert "a bundle already; copy the folder" in capsys.readouterr().err


def test_wrong_usage(capsys):
    with pytest.raises(SystemExit, match="2"):
        run("runs/a")
    assert "give --bundle DIR, --onnx FILE or both" in capsys.readouterr().err


def test_a_bundle_on_s3(trained, photos, s3):
    url = s3.url("bundle")
    assert run(trained.run("mlspl"), "--bundle", url) == 0
    np.testing.assert_array_equal(
        retdm.load(url).scores(photos), retdm.load(trained.run("mlspl")).scores(photos)
    )
