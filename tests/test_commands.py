"""The console script `retdm`."""

import subprocess
import sys

import pytest

import retdm
from retdm.commands import COMMANDS, main


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["retdm", *arguments])
    main()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_the_program_of_that_name(monkeypatch, capsys, name):
    # As in a process of its own, which has not imported it.
    for module in (f"retdm.{name}", f"retdm.{name}.__main__"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    with pytest.raises(SystemExit, match="0"):
        run(monkeypatch, name, "--help")
    assert capsys.readouterr().out.startswith(f"usage: python -m retdm.{name} [-h]")


def test_the_status_is_the_programs(tmp_path):
    code = "from retdm.commands import main; main()"
    given = ["evaluate", "--scores", str(tmp_path / "none.npz")]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True)
    assert done.returncode == 2
    assert "none.npz: no such file" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_without_a_command_they_are_listed(monkeypatch, capsys, arguments):
    run(monkeypatch, *arguments)
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)


def test_the_version_is_told(monkeypatch, capsys):
    run(monkeypatch, "--version")
    assert capsys.readouterr().out == f"retdm {retdm.__version__}\n"


def test_an_unknown_command_offers_the_nearest(monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "pedict")
    assert "error: no command 'pedict'; did you mean predict?" in capsys.readouterr().err
