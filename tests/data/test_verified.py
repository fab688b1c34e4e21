from pathlib import Path

import pytest

from retdm.data.verified import read_verified
from retdm.errors import NotFoundError, ShardError
from retdm.storage.file import FileStore


def _number(content: bytes) -> int:
    if not content.isdigit():
        raise ShardError(f"{content!r} is no number")
    return int(content)


@pytest.mark.parametrize("wrong", [0, 1, 3])
def test_what_arrives_wrong_is_read_again(tmp_path: Path, wrong: int) -> None:
    reads = iter([*(b"x" * (n + 1) for n in range(wrong)), b"17"])

    class Damaging(FileStore):
        def read(self, name: str) -> bytes:
            return next(reads)

    assert read_verified(Damaging(tmp_path), "a", _number) == 17
    assert list(reads) == []


def test_what_stays_wrong_is_the_error_of_the_check(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    caplog.set_level("INFO")
    with pytest.raises(ShardError, match=r"^b'x' is no number$"):
        read_verified(FileStore(tmp_path), "a", _number)
    assert caplog.text.count("reading again: b'x' is no number") == 1


def test_a_missing_file_is_not_looked_for_again(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="/a: no such file"):
        read_verified(FileStore(tmp_path), "a", _number)
