"""Which image files a command line means: the lines of a text file."""

import pytest

from retdm.errors import ConfigError, NotFoundError
from retdm.predict.images import find_images


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given):
    return [one.name for one in find_images(given)]


def test_lines_may_be_blank_and_names_begin_with_any_sign(folder):
    for name in ("@a.jpg", "-b.jpg", " c.jpg"):
        (folder / name).write_bytes(b"")
    (folder / "names").write_bytes(b"\n@a.jpg\r\n  \n-b.jpg\n c.jpg")
    assert names("@names") == ["@a.jpg", "-b.jpg", " c.jpg"]
    assert names("./@a.jpg") == ["./@a.jpg"]


def test_a_file_that_names_itself_stands_for_a_file(folder):
    (folder / "names").write_text("@names\n")
    with pytest.raises(NotFoundError, match=r"^names, line 1: @names: no such file or folder; ch"):
        names("@names")


def test_a_wrong_name_is_told_with_file_and_line(folder):
    (folder / "a.jpg").write_bytes(b"")
    (folder / "names").write_text("a.jpg\n\nb.jpg\n")
    with pytest.raises(NotFoundError, match=r"^names, line 3: b\.jpg: no such file or folder"):
        names("@names")


def test_a_file_without_names_is_refused(folder):
    (folder / "names").write_text("\n \n")
    with pytest.raises(ConfigError, match=r"^@names: no line of the file names an image; write"):
        names("@names")


def test_a_name_that_is_not_utf_8_is_found(folder):
    with open(b"caf\xe9.jpg", "wb"):
        pass
    (folder / "names").write_bytes(b"caf\xe9.jpg\n")
    assert names("@names") == ["caf\\xe9.jpg"]
