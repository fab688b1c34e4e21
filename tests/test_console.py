"""Exit codes and progress lines of the command line programs."""

import signal
import subprocess
import sys

import pytest

from retdm.console import ByteBar, Failed, Stopped, at_end, progress, run
from retdm.errors import ConfigError


def _fail(error):
    raise error


def test_a_deliberate_error_is_one_line_and_status_2(capsys):
    assert run(lambda: _fail(ConfigError("bank.size is -1; give 0 or more"))) == 2
    assert capsys.readouterr().err == "error: bank.size is -1; give 0 or more\n"


def test_what_is_nobodys_mistake_is_one_line_and_status_1(capsys):
    assert run(lambda: _fail(Failed("rank 1: process 7 died"))) == 1
    assert capsys.readouterr().err == "error: rank 1: process 7 died\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


def test_what_is_to_come_at_the_very_end_is_told_the_status(monkeypatch):
    monkeypatch.setattr("retdm.console._LAST", [])
    told = []
    for _ in range(2):
        at_end(told.append)
    assert run(lambda: _fail(ConfigError("no"))) == 2
    assert told == [2]


def test_ctrl_c_is_status_130(capsys):
    assert run(lambda: _fail(KeyboardInterrupt())) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_program_that_was_stopped_says_where_and_has_the_status_of_the_signal(
    capsys, sent, status
):
    assert run(lambda: _fail(Stopped("stopped at step 7", sent))) == status
    assert capsys.readouterr().err == "stopped at step 7\n"


def test_a_reader_that_left_is_no_error_even_if_it_shows_late():
    program = "import sys; from retdm.console import run; sys.exit(run(lambda: print('x') or 0))"
    # Unbuffered, it would show at once, within `main`.
    python = f"PYTHONUNBUFFERED= {sys.executable}"
    code = f'{{ sleep 0.2; {python} -c "$1"; }} | true; exit ${{PIPESTATUS}}'
    done = subprocess.run(["bash", "-c", code, "bash", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_progress_yields_everything_and_ends_with_one_line(capsys):
    assert list(progress(range(3), total=3, label="packing", unit="photo")) == [0, 1, 2]
    assert "packing [####################] 3/3 photo" in capsys.readouterr().err


def test_bytes_of_a_file_that_starts_over_end_with_one_line(capsys):
    with ByteBar("photos.zip", 4 << 20, done=1 << 20) as bar:
        for done in (2 << 20, 0, 4 << 20):
            bar.at(done)
    out = capsys.readouterr().err
    assert out.startswith("photos.zip [####################] 4.0/4.0 MiB, ")
    assert (out.count("\n"), "left" in out) == (1, False)


def test_bytes_on_a_terminal_are_a_live_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ByteBar("photos.zip", 4 << 20, done=1 << 20) as bar:
        bar.at(4 << 20)
    out = capsys.readouterr().err
    assert out.count("\r") >= 2
    assert "photos.zip: 100%" in out
    assert "4.00M/4.00M" in out
