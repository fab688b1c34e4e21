"""Background programs are found again, and ended exactly."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import background
import pytest
from background import LocalServiceError, Process

ENV = dict(os.environ)


def _python(code, tmp_path, **options):
    command = [sys.executable, "-c", code]
    return background.spawn(command, log=tmp_path / "log", env=ENV, **options)


def _wait_for(condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("did not happen within 10 s")


def test_a_program_runs_in_its_own_session_and_writes_to_its_log(tmp_path):
    process = _python("import os; print(os.getsid(0), flush=True)", tmp_path)
    _wait_for(lambda: not background.is_alive(process))
    assert (tmp_path / "log").read_text() == f"{process.pid}\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_missing_program_is_an_error(tmp_path):
    with pytest.raises(LocalServiceError, match=r"/no/such: cannot be started \(No such file"):
        background.spawn(["/no/such"], log=tmp_path / "log", env=ENV)


def test_end_reaches_children_that_left_the_session(tmp_path):
    code = """
import subprocess, sys, time
child = [sys.executable, "-c", "import time; time.sleep(60)"]
print(subprocess.Popen(child, start_new_session=True).pid, flush=True)
time.sleep(60)
"""
    parent = _python(code, tmp_path)
    _wait_for(lambda: (tmp_path / "log").read_text().endswith("\n"))
    child = int((tmp_path / "log").read_text())
    assert {p.pid for p in background.family([parent])} == {parent.pid, child}
    assert background.end([parent], grace_s=0.5) == 1  # the child was not asked, but killed
    assert not background.is_alive(parent)
    _wait_for(lambda: not os.path.exists(f"/proc/{child}"))


def test_end_kills_what_does_not_listen(tmp_path):
    code = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
    process = _python(code, tmp_path)
    _wait_for(lambda: (tmp_path / "log").read_text())
    assert background.end([process], grace_s=0.2) == 1
    assert not background.is_alive(process)


def test_another_process_with_the_same_id_is_left_alone(tmp_path):
    process = _python("import time; time.sleep(60)", tmp_path)
    stranger = Process(process.pid, process.started - 1)
    assert not background.is_alive(stranger)
    assert background.family([stranger]) == set()
    background.end([stranger], grace_s=0)
    assert background.is_alive(process)
    background.end([process], grace_s=5)


def test_a_tied_program_ends_with_the_one_that_started_it(tmp_path):
    code = f"""
import os, sys, pathlib
sys.path.insert(0, {os.path.dirname(background.__file__)!r})
import background
child = background.spawn([sys.executable, "-c", "import time; time.sleep(60)"],
                         log=pathlib.Path("log"), env=os.environ, tied=True)
print(child.pid, child.started, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdin=pipe, stdout=pipe, text=True) as parent:
        child = Process(*map(int, parent.stdout.readline().split()))
        # It is still becoming the other program: before that it does not know of the tie.
        _wait_for(lambda: b"tied" not in _command_line(child.pid))
        assert background.is_alive(child)
        os.kill(parent.pid, signal.SIGKILL)
    _wait_for(lambda: not background.is_alive(child))


def _command_line(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def test_processes_are_read_back(tmp_path):
    path = tmp_path / "processes.json"
    assert background.load_processes(path) == {}
    known = {"a": Process(12, 34)}
    background.save_processes(path, known)
    assert background.load_processes(path) == known
    assert path.stat().st_mode & 0o777 == 0o600


def test_processes_of_before_a_reboot_are_forgotten(tmp_path):
    path = tmp_path / "processes.json"
    background.save_processes(path, {"a": Process(12, 34)})
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "another"}))
    assert background.load_processes(path) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"processes": {}}'])
def test_a_damaged_state_file_is_an_error(tmp_path, text):
    path = tmp_path / "processes.json"
    path.write_text(text)
    with pytest.raises(LocalServiceError, match=r"processes\.json: not a list of processes"):
        background.load_processes(path)


def test_a_port_in_use_is_not_offered():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        other = background.free_port(taken)
        assert other != taken
        assert background.free_port(other, avoid=[other]) != other
    assert background.free_port(other) == other


def test_only_the_owner_of_a_port_serves_it(tmp_path):
    code = """
import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(60)
"""
    owner = _python(code, tmp_path)
    _wait_for(lambda: (tmp_path / "log").read_text().endswith("\n"))
    port = int((tmp_path / "log").read_text())
    (tmp_path / "other").mkdir()
    stranger = _python("import time; time.sleep(60)", tmp_path / "other")
    try:
        assert background.serves(owner, port)
        assert not background.is_taken(owner, port)
        assert not background.serves(stranger, port)
        assert background.is_taken(stranger, port)
    finally:
        background.end([owner, stranger], grace_s=5)
    assert not background.serves(owner, port)
    assert not background.is_taken(owner, port)  # nobody listens any more


def test_tail_is_the_end_of_a_log(tmp_path):
    (tmp_path / "log").write_text("a\nb\nc\n")
    assert background.tail(tmp_path / "log", 2) == "    b\n    c"
    assert background.tail(tmp_path / "none") == ""
