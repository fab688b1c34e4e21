"""Files to write are refused before the work, by each program that writes one."""

import pytest

from retdm.embed import main as embed
from retdm.errors import ConfigError
from retdm.export.__main__ import main as export
from retdm.predict.__main__ import main as predict
from retdm.report.__main__ import main as report
from retdm.search import main as search
from retdm.storage import open_file
from retdm.storage.place import open_file_to_write


def test_a_file_that_can_be_written_is_opened_as_any_other(tmp_path):
    (tmp_path / "old").write_bytes(b"")
    for url in (f"{tmp_path}/old", f"{tmp_path}/new/deep", "s3://bucket/x"):
        assert open_file_to_write(url, option="--out") == open_file(url)


@pytest.mark.parametrize(
    "main, arguments, option",
    [
        (embed, ["no-run"], "--out"),
        (export, ["no-run"], "--onnx"),
        (predict, ["no-run", "a.jpg"], "--json"),
        (predict, ["no-run", "a.jpg"], "--csv"),
        (predict, ["no-run", "a.jpg"], "--parquet"),
        (report, ["no-run"], "--out"),
        (report, ["no-run", "--out", "page.html"], "--save-scores"),
        (search, ["no-run", "--measure"], "--json"),
    ],
)
def test_a_folder_and_what_is_below_a_file_are_refused_before_a_run_is_opened(
    tmp_path, monkeypatch, main, arguments, option
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=f"^{option} folder is a folder; give a file in it$"):
        main([*arguments, option, "folder"])
    with pytest.raises(ConfigError, match=f"^{option} file/x: .*/file is a file, not a folder; "):
        main([*arguments, option, "file/x"])
