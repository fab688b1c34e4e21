"""Submits a job to Ray, shows its output as it comes and keeps it in a file."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ray_head import RAY

# The last line that Ray's client prints before the job's own output.
_OUTPUT_BEGINS = "Running entrypoint for job"
_END_GRACE_S = 5.0


def submit(
    entrypoint: Sequence[str],
    *,
    working_dir: Path,
    env: Mapping[str, str],
    log: Path,
    limit_s: float,
) -> int:
    """Run `ray job submit -- ENTRYPOINT` and wait for the job's end.

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
        late = threading.Timer(limit_s, os.killpg, (client.pid, signal.SIGTERM))
        late.start()
        try:
            _relay(client, log)
            return client.wait()
        finally:
            late.cancel()
            if client.poll() is None:
                client.terminate()
                try:
                    client.wait(_END_GRACE_S)
                except subprocess.TimeoutExpired:
                    client.kill()


def _relay(client: subprocess.Popen[str], log: Path) -> None:
    assert client.stdout is not None
    begun = False
    with log.open("w", encoding="utf-8") as file:
        for line in client.stdout:
            file.write(line)
            file.flush()
            if begun:
                print(line, end="", flush=True)
            begun = begun or line.startswith(_OUTPUT_BEGINS)
