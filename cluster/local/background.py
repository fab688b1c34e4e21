"""Programs started in the background: found again by a state file, ended exactly, never by name.

Each program becomes the leader of its own session, so Ctrl-C in the terminal does not reach it.
A process is identified by its id and its start time: an id that the kernel has given to somebody
else since is not touched. Linux only (it reads /proc).
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

try:
    from retdm.errors import RetdmError
except ModuleNotFoundError as missing:
    if missing.name != "retdm":
        raise
    # The first that all programs of this folder need; without it there is no environment at all.
    root = Path(__file__).resolve().parents[2]
    print(
        f"error: this Python, {sys.executable}, has no retdm; run `make setup` in {root}, then "
        f"this program with {root / '.venv/bin/python'}",
        file=sys.stderr,
    )
    sys.exit(2)

_POLL_S = 0.05
_LISTEN = "0A"  # state of a socket in /proc/net/tcp


class LocalServiceError(RetdmError):
    """A local server did not start or is not running; names its folder and its log."""


@dataclass(frozen=True)
class Process:
    """One process, as the kernel knows it."""

    pid: int
    started: int
    """Clock ticks between boot and the start of the process."""


def spawn(
    command: Sequence[str], *, log: Path, env: Mapping[str, str], tied: bool = False
) -> Process:
    """Start a program in a session of its own; its output goes to `log`, its input is empty.

    Args:
        command: Absolute path of the program, and its arguments.
        log: File that is overwritten with the program's output.
        env: Its whole environment.
        tied: Have the kernel send it SIGTERM when the calling thread ends, even by SIGKILL.

    Raises:
        LocalServiceError: If the program cannot be executed.
    """
    if tied:
        tie = [sys.executable, "-IS", str(Path(__file__).with_name("tied.py")), str(os.getpid())]
        command = [*tie, *command]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        pid = os.posix_spawn(command[0], list(command), env, file_actions=actions, setsid=True)
    except OSError as error:
        raise LocalServiceError(f"{command[0]}: cannot be started ({error.strerror})") from error
    found = _look_up(pid)
    if found is None:  # a child stays visible, if only as a zombie, until it is waited for
        raise LocalServiceError(f"{command[0]}: ended at once; see {log}")
    return found


def is_alive(process: Process) -> bool:
    """Whether this very process still runs; a zombie does not."""
    # If it is our own ended child, this removes it from the process table.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    fields = _stat(process.pid)
    return fields is not None and int(fields[19]) == process.started and fields[0] not in "ZX"


def family(leaders: Iterable[Process]) -> set[Process]:
    """The processes given, their session members and all their descendants, if alive."""
    table = {pid: fields for pid in _pids() if (fields := _stat(pid)) and fields[0] not in "ZX"}
    members = {p.pid for p in leaders if p.pid in table and int(table[p.pid][19]) == p.started}
    # The leader of a session may be gone while members live on; its id then stays reserved.
    sessions = {p.pid for p in leaders if p.pid not in table} | members
    members |= {pid for pid, fields in table.items() if int(fields[3]) in sessions}
    size = -1
    while size != len(members):
        size = len(members)
        members |= {pid for pid, fields in table.items() if int(fields[1]) in members}
    members.discard(os.getpid())
    return {Process(pid, int(table[pid][19])) for pid in members}


def end(leaders: Sequence[Process], *, grace_s: float) -> int:
    """Ask `leaders` to end, wait `grace_s` seconds for their families, then kill what is left.

    Returns:
        The number of processes that had to be killed.
    """
    known = family(leaders)
    for leader in leaders:
        _signal(leader, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while alive := [p for p in known if is_alive(p)]:
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
        known |= family(alive)
    for process in alive:
        _signal(process, signal.SIGKILL)
    while any(is_alive(p) for p in alive):
        time.sleep(_POLL_S)
    return len(alive)


def free_port(preferred: int = 0, *, avoid: Iterable[int] = ()) -> int:
    """A loopback TCP port that nobody listens on: `preferred` if free, else any other."""
    taken = set(avoid)
    candidate = preferred
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", candidate))
                port = int(probe.getsockname()[1])
                if port not in taken:
                    return port
        candidate = 0


def serves(leader: Process, port: int) -> bool:
    """Whether `leader` or its family, and nobody else, accepts connections on this TCP port.

    That something answers is not enough: another program may have taken the port between our
    search for a free one and the start of ours, and would then be given our keys.
    """
    inodes = _listening(port)
    return bool(inodes) and any(inodes <= _sockets(process.pid) for process in family([leader]))


def is_taken(leader: Process, port: int) -> bool:
    """Whether somebody outside `leader`'s family accepts connections on this TCP port."""
    return bool(_listening(port)) and not serves(leader, port)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def save_processes(path: Path, processes: Mapping[str, Process]) -> None:
    """Write down what was started, for a later `stop`."""
    table = {name: asdict(process) for name, process in processes.items()}
    write_private(path, json.dumps({"boot": _boot_id(), "processes": table}))


def load_processes(path: Path) -> dict[str, Process]:
    """Read what `save_processes` wrote; empty if nothing was started.

    Raises:
        LocalServiceError: If the file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["boot"] != _boot_id():  # nothing of before a reboot still runs
            return {}
        return {name: Process(**entry) for name, entry in content["processes"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise LocalServiceError(
            f"{path}: not a list of processes ({error}); end the servers by hand and delete it"
        ) from error


def end_saved(path: Path, *, grace_s: float) -> None:
    """End what `save_processes` wrote down, see `end`; no error if nothing runs."""
    end(list(load_processes(path).values()), grace_s=grace_s)
    path.unlink(missing_ok=True)


def not_started(name: str, *, alive: bool, limit_s: float, log: Path) -> LocalServiceError:
    """The error of a server that has not answered: it has ended, or is too slow."""
    problem = f"no answer in {limit_s:.0f} s" if alive else "it ended"
    return LocalServiceError(f"{name} did not start: {problem}; the end of {log}:\n{tail(log)}")


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log file, indented, for an error message."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _listening(port: int) -> set[str]:
    """Inodes of the sockets that listen on this port, on whatever address."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return inodes


def _sockets(pid: int) -> set[str]:
    """Inodes of the sockets that a process holds; empty if it is gone or not ours."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                kind, _, inode = os.readlink(f"/proc/{pid}/fd/{entry}").partition(":")
                if kind == "socket":
                    found.add(inode.strip("[]"))
    return found


def _look_up(pid: int) -> Process | None:
    fields = _stat(pid)
    return Process(pid, int(fields[19])) if fields else None


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on: state, parent, group, session, ..."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets and may itself hold blanks or brackets.
    return text.rpartition(")")[2].split()


def _signal(process: Process, number: int) -> None:
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
