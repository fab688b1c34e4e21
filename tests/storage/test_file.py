import os
from pathlib import Path

import pytest

from retdm.errors import StorageError
from retdm.storage import open_store


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    store.write("a", b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="a: No space left on device; check permissions"):
        store.write("a", b"new")
    assert os.listdir(tmp_path) == ["a"]
    assert store.read("a") == b"old"


def test_files_get_ordinary_permissions(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_unfinished_files_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".a.0123.part").write_bytes(b"half")
    assert open_store(str(tmp_path)).names() == []
