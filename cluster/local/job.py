"""Submits a job to Ray, shows its output as it comes and keeps it in a file."""

import contextlib
import queue
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ray_head import RAY

# In the last line that Ray's client prints before the job's own output.
_OUTPUT_BEGINS = "Tailing logs until the job exits"
_END_GRACE_S = 5.0
_SILENCE_S = 10.0  # after so long without output, say that it still runs

# Which process a line comes from, in colour: "(RayTrainWorker pid=12)" and blanks.
_SOURCE = re.compile(r"^(\x1b\[\d+m)?\(\w+ pid=\d+(, ip=[\d.]+)?\)(\x1b\[0m)? ")
# Ray's own remarks: its log lines, the command (which may stand behind the first output), and
# each report with all its metrics on one line.
_REMARK = re.compile(
    r"^\[?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+[\t ](INFO|SUCC|[IWE] \d+)"
    r"|^Running entrypoint for job raysubmit_"
    r"|^Reporting training result \d+: "
)


def submit(
    entrypoint: Sequence[str],
    *,
    working_dir: Path,
    env: Mapping[str, str],
    log: Path,
    limit_s: float,
) -> int:
    """Run `ray job submit -- ENTRYPOINT` and wait for the job's end.

    Its output is printed less Ray's own remarks; the log has those too.

    Args:
        entrypoint: Program and arguments, run by a shell on the head; without secrets, since
            everyone on the machine can read command lines.
        working_dir: Sent to the cluster, less what .gitignore and .rayignore name.
        env: Environment of the client, with the head's addresses and token file. The job does
            not see it: a job finds the environment of its head.
        log: File that receives all output; its folder exists.
        limit_s: Seconds after which the client is ended, which counts as a failure.

    Returns:
        0 if the job succeeded, else another number.
    """
    command = [*RAY, "job", "submit", "--log-style=record", "--log-color=false"]
    command += [f"--working-dir={working_dir}", "--", *entrypoint]
    # A session of its own: Ctrl-C is the caller's to handle, not the client's.
    with subprocess.Popen(
        command,
        env={**env, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as client:
        try:
            _relay(client, log, limit_s)
            return client.wait()
        finally:
            if client.poll() is None:
                client.terminate()
                try:
                    client.wait(_END_GRACE_S)
                except subprocess.TimeoutExpired:
                    client.kill()


def _relay(client: subprocess.Popen[str], log: Path, limit_s: float) -> None:
    """Print and keep what `client` says until it ends; end it after `limit_s`."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(client, lines), daemon=True).start()
    started = time.monotonic()
    begun = False
    with log.open("w", encoding="utf-8") as file:
        while True:
            now = time.monotonic() - started
            if now > limit_s:
                print(f"      ended after {limit_s:.0f} s: the job took too long", flush=True)
                client.terminate()
                return
            try:
                line = lines.get(timeout=min(_SILENCE_S, limit_s - now + 0.1))
            except queue.Empty:
                print(f"      ... {time.monotonic() - started:.0f} s, still running", flush=True)
                continue
            if line is None:
                return
            file.write(line)
            file.flush()
            if begun and (text := shown(line)) is not None:
                print(text, end="", flush=True)
            begun = begun or _OUTPUT_BEGINS in line


def _read(client: subprocess.Popen[str], lines: "queue.Queue[str | None]") -> None:
    assert client.stdout is not None
    with contextlib.suppress(ValueError):  # closed, since nobody wants the rest
        for line in client.stdout:
            lines.put(line)
    lines.put(None)


def shown(line: str) -> str | None:
    r"""A line of a job's output as people want to see it; None if it is a remark of Ray's.

    Example:
        >>> shown("\x1b[36m(RayTrainWorker pid=7)\x1b[0m epoch 1: loss 0.5")
        'epoch 1: loss 0.5'
        >>> shown("2026-01-31 10:00:00,123\tINFO worker.py:1691 -- Using address 127.0.0.2:6379")
    """
    text = _SOURCE.sub("", line)
    return None if _REMARK.match(text) else text
