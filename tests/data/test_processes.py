import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retdm.data.processes import begin, forkserver, storage_settings


def test_a_process_has_the_storage_variables_of_the_training_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seen() -> list[str | None]:
        names = ("RETDM_S3_STALL_S", "AWS_SESSION_TOKEN")
        with forkserver().Pool(1, begin, (storage_settings(),)) as pool:
            return [pool.apply(os.getenv, (name,)) for name in names]

    monkeypatch.setenv("RETDM_S3_STALL_S", "7")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "old")
    assert seen() == ["7", "old"]
    # The fork server, which was started with the first, must not bring it back.
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    monkeypatch.setenv("RETDM_S3_STALL_S", "8")
    assert seen() == ["8", None]


TRAINER = """
import sys
from retdm.config import DataSettings
from retdm.data.loader import TrainingLoader
from retdm.data.split import open_split

if __name__ == "__main__":
    settings = DataSettings(url=sys.argv[1], batch_size=4, image_size=16, loader_workers=2)
    data = open_split(sys.argv[1], "train")
    loader = TrainingLoader(data, settings, seed=0, rank=0, world_size=1)
    for batch in loader.epoch(0):
        print("batch", flush=True)
        sys.stdin.read()
"""


def _session(leader: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, _, _, session, *_ = path.read_text().rpartition(")")[2].split()
            if int(session) == leader and state not in "ZX":
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
def test_loader_processes_end_with_a_killed_trainer(tiny_set: str, tmp_path: Path) -> None:
    program = tmp_path / "trainer.py"
    program.write_text(TRAINER)
    with subprocess.Popen(
        [sys.executable, program, tiny_set],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as trainer:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == b"batch\n"
        assert len(_session(trainer.pid)) > 2
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
        deadline = time.monotonic() + 30
        while _session(trainer.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _session(trainer.pid) == []
