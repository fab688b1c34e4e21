"""Exit codes and progress lines of the command line programs."""

import subprocess
import sys

import pytest

from retdm.console import progress, run
from retdm.errors import ConfigError


def _fail(error):
    raise error


def test_a_deliberate_error_is_one_line_and_status_2(capsys):
    assert run(lambda: _fail(ConfigError("bank.size is -1; give 0 or more"))) == 2
    assert capsys.readouterr().err == "error: bank.size is -1; give 0 or more\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


def test_ctrl_c_is_status_130(capsys):
    assert run(lambda: _fail(KeyboardInterrupt())) == 130
    assert "interrupted" in capsys.readouterr().err


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
