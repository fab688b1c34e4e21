import subprocess
import sys
from pathlib import Path

import pytest

from retdm.errors import ConfigError, StorageError
from retdm.storage import arrow_filesystem, join_url, open_file, open_store


def test_paths_and_file_urls_are_the_same_place(tmp_path: Path) -> None:
    spaced = tmp_path / "my photos"
    assert open_store(f"file://{tmp_path}/my%20photos") == open_store(str(spaced))


def test_a_relative_path_is_fixed_where_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sets/scene")
    monkeypatch.chdir("/")
    assert store.url == str(tmp_path / "sets/scene")


def test_s3_urls_lose_their_trailing_slash() -> None:
    assert open_store("s3://photos/sets/scene/").url == "s3://photos/sets/scene"
    assert open_store("s3://photos").url == "s3://photos"


@pytest.mark.parametrize(
    "url, message",
    [
        ("pipe:cat /etc/passwd", "scheme 'pipe' is not supported; use a folder, file://"),
        ("http://host/x", "scheme 'http' is not supported"),
        ("", "the storage URL is empty"),
        ("s3://", "no bucket in it; write it as s3://bucket/prefix"),
        ("s3:bucket/x", "no bucket in it"),
        (
            "s3://KEY:a/b@bucket/x",
            "^an s3:// URL has an '@' or ':' where its bucket's name is; wr",
        ),
        ("s3://KEY@bucket/x", "give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, since"),
        ("s3a://KEY:a/b@bucket/x?c=d", r"^s3a://\*\*\*@bucket/x\?\*\*\*: scheme 's3a' is not"),
        ("file://host/x", "not a local file URL; write it as file:///absolute/path"),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        open_store(url)


@pytest.mark.parametrize(
    "parts, joined",
    [
        (("s3://b", "x"), "s3://b/x"),
        (("/", "x"), "/x"),
        (("/a/", "/b/", "", "c"), "/a/b/c"),
        (("a",), "a"),
    ],
)
def test_join_url_puts_one_slash_between_parts(parts: tuple[str, ...], joined: str) -> None:
    assert join_url(*parts) == joined


def test_arrow_reads_what_the_store_wrote(tmp_path: Path) -> None:
    open_store(str(tmp_path)).write("d/a", b"hello")
    filesystem, path = arrow_filesystem(f"file://{tmp_path}/d")
    with filesystem.open_input_file(f"{path}/a") as file:
        assert file.read() == b"hello"


@pytest.mark.parametrize("url, imported", [("folder", False), ("s3://bucket/x", True)])
def test_the_client_of_s3_is_imported_where_it_is_used(url: str, imported: bool) -> None:
    program = (
        "import sys, retdm.storage, retdm.shard.__main__; "
        f"retdm.storage.open_store({url!r}); print('botocore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == f"{imported}\n", done.stderr


def test_a_file_is_its_folder_and_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_file("a.json") == (open_store(str(tmp_path)), "a.json")
    assert open_file("/a.json") == (open_store("/"), "a.json")
    store, name = open_file("s3://photos/sets/a.json")
    assert (store.url, name) == ("s3://photos/sets", "a.json")
    with pytest.raises(ConfigError, match="'sets/' names a folder, not a file; add a file name"):
        open_file("sets/")
