import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from retdm.errors import StorageError
from retdm.storage import open_store
from retdm.storage.file import FileStore


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
    (tmp_path / f".a.{'0f' * 16}.part").write_bytes(b"half")
    (tmp_path / ".b.part").write_bytes(b"not ours")
    assert open_store(str(tmp_path)).names() == [".b.part"]


def test_a_sweep_removes_what_a_killed_write_left(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from retdm.storage.file import FileStore; "
        "os.fsync = lambda handle: os.kill(os.getpid(), 9); "
        "FileStore(Path(sys.argv[1])).write('d/a', b'x')"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "d").iterdir()] != []
    store = FileStore(tmp_path)
    store.write("d/b", b"x")
    store.sweep()
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["b"]
