"""Packages without which nothing can be served."""

import sys

import pytest

from retdm.errors import ConfigError
from retdm.serving.extra import check_installed


def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch):
    check_installed()
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    with pytest.raises(
        ConfigError,
        match=r"^serving needs fastapi, python_multipart, not installed here; "
        r"pip install 'retdm\[serve\]'$",
    ):
        check_installed()
