"""Shard specs: those the project carries, and wrong ones."""

from pathlib import Path

import pytest

from retdm.errors import ConfigError
from retdm.shard.spec import load_spec

SPECS = sorted((Path(__file__).parents[2] / "shards").glob("*.toml"))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_specs_of_the_project_are_valid_and_show_their_command(path):
    spec, _ = load_spec(path)
    assert spec.name == path.stem
    text = path.read_text()
    assert text.startswith("# ")
    assert f"python -m retdm.shard build shards/{path.name} --source" in text


def test_there_are_the_four_of_the_paper_and_practice():
    assert {p.stem for p in SPECS} == {"coco2014", "mirflickr25k", "scene", "synthetic"}


def test_options_are_resolved_for_the_manifest():
    path = next(p for p in SPECS if p.stem == "scene")
    spec, options = load_spec(path, ["options.delimiter=;", "split.seed=3"])
    assert spec.options["separator"] == ";"
    assert spec.options == options.model_dump(mode="json")
    assert spec.split.seed == 3


@pytest.mark.parametrize(
    "override, message",
    [
        ("split.tset=0.3", r"spec.toml: unknown setting split.tset; did you mean split.test\?"),
        ("split.test=1.5", "spec.toml: split.test is 1.5: Input should be less than 1"),
        ("check=no", "check is 'no': Input should be 'structure' or 'decode'"),
        ("resize.quality=best", "resize.quality is 'best'"),
        ("reader=csv", "reader 'csv' is unknown; there are coco, mirflickr, table, synthetic"),
        ("options.column=1", "options: unknown setting column; did you mean"),
        ("shards.samples=0", "shards.samples is 0: Input should be greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_named(source, override, message):
    with pytest.raises(ConfigError, match=message):
        load_spec(source / "spec.toml", [override])
