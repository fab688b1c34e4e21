"""The version stands in `retdm/__init__.py` alone; packaging reads it from there."""

import re
import tomllib
from pathlib import Path

import retdm

ROOT = Path(__file__).resolve().parents[1]


def test_the_version_is_that_of_the_newest_changes() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == retdm.__version__


def test_packaging_has_no_version_of_its_own() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in settings["project"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "retdm.__version__"
