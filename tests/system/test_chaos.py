"""Processes at every level of a real run are killed at random; it ends as one that nobody touched.

    RETDM_CHAOS_KILLS=20 python -m pytest -s tests/system/test_chaos.py

makes 20 kills instead of 4; RETDM_CHAOS_SEED=2 chooses others. The table is printed: what was
killed and after which step, how many steps had to be done again, and how long it took from the
kill until the run made its next step, in seconds and in clean starts.
"""

import json
import os
import random
import re
import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from retdm.data.split import open_split
from retdm.storage import join_url, open_store
from retdm.train.ledger import FOLDER
from tests.system.killing import controllers, loader_processes, workers
from tests.system.nodes import Nodes
from tests.system.run_end import assert_same_end, end_of
from tests.system.test_coco_to_result import shards
from tests.system.training import command, finish, start

__all__ = ["shards"]
KILLS = int(os.environ.get("RETDM_CHAOS_KILLS", "4"))
SEED = int(os.environ.get("RETDM_CHAOS_SEED", "1"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.timeout(1200 + 300 * KILLS),
]
BATCH, BATCHES = 4, 12
"""Size of one, and how many make an epoch."""
APART = 3 * BATCHES
"""Steps from one kill to the next."""
EPOCHS = 3 * (KILLS + 1)
SETTINGS = (
    "run.max_failures=99",
    "run.ledger=true",
    "run.log_every_steps=1",
    "checkpoint.every_steps=2",
    f"data.batch_size={BATCH}",
    "data.loader_workers=1",
    f"stages.1.epochs={EPOCHS // 2}",
    "stages.2.epochs=1",
    f"stages.3.epochs={EPOCHS - EPOCHS // 2 - 1}",
)
WAIT_S = 600


@dataclass
class Kill:
    """One line of the table."""

    what: str
    at: int
    """Steps done when it came."""
    done: int
    """And when training stood still: batches that are ready are trained on without their maker."""
    resumed: int = 0
    """Steps done in the checkpoint that the run went on from."""
    recovered_s: float = 0.0
    """From the kill to the end of the next step."""


def _plan(draw):
    """What to kill, and after which step: each level equally often, in random order.

    Early in an epoch, since whoever has read it to the end is not missed; and not in the first,
    so that there is a checkpoint.
    """
    kinds = []
    while len(kinds) < KILLS:
        levels = ["worker", "loader process", draw.choice(["controller", "driver"]), "raylet"]
        draw.shuffle(levels)
        kinds += levels
    return [
        (kind, BATCHES + APART * at + draw.randint(1, 4)) for at, kind in enumerate(kinds[:KILLS])
    ]


class Trained:
    """A run on the cluster, its program, and what the test sees of it."""

    def __init__(self, nodes, shards, storage, name, log):
        self.nodes, self.log, self.tmp = nodes, log, nodes.tmp
        self.words = command(shards, storage, name, *SETTINGS)
        self.begin()

    def begin(self):
        """Start the program, which is what an operator does if it has ended."""
        self.driver = start(self.words, self.log, TMPDIR=str(self.tmp), **self.nodes.client)

    def attempts(self):
        """Last step on the log of each attempt whose log is still there, by its folder."""
        found = {}
        for log in self.tmp.glob("retdm-scratch-log-*/log.jsonl"):
            try:
                lines = log.read_text().splitlines()
            except FileNotFoundError:  # the attempt after it has removed it
                continue
            found[log.parent] = max((json.loads(line)["step"] for line in lines), default=0)
        return found

    def resumed(self):
        """Where each attempt went on, by the error file of its rank 0.

        Read where Ray keeps it: in the program's own output it stands seconds later, and by then
        a run of so few steps may be over.
        """
        found = {}
        for errors in self.tmp.glob("r/session_latest/logs/worker-*.err"):
            try:
                text = errors.read_text()
            except FileNotFoundError:  # Ray has given it the number of the worker's job
                continue
            if step := re.search(r"resuming after step (\d+)", text):
                found[errors.name] = int(step[1])
        return found

    def kill(self, kind, draw):
        """Kill one process of the kind; a raylet's node is started again at once."""
        if kind == "raylet":
            self.nodes.kill_raylet(draw.choice(self.nodes.addresses))
            return
        if kind == "driver":
            victims = [self.driver.pid]
        else:
            find = {
                "worker": workers,
                "loader process": loader_processes,
                "controller": controllers,
            }
            victims = self.until(lambda: find[kind](*self.nodes.pids), f"a {kind}")
        os.kill(draw.choice(victims), signal.SIGKILL)

    def until(self, seen, what, *, may_end=False):
        """What `seen` returns, when it is something."""
        deadline = time.monotonic() + WAIT_S
        while not (found := seen()):
            if self.driver.poll() is not None and may_end:
                self.begin()
            assert self.driver.poll() is None, self.tail()
            assert time.monotonic() < deadline, f"no {what} in {WAIT_S} s: {self.tail()}"
            time.sleep(0.02)
        return found

    def tail(self):
        return Path(self.log.name).read_text()[-4000:]


def _recover(run, kind, draw):
    """Kill one process, and wait until the run has made a step again."""
    before, resumed = run.attempts(), run.resumed()
    at = max(before.values())
    kill, began = Kill(kind, at, at), time.monotonic()
    run.kill(kind, draw)
    if kind == "raylet":
        run.nodes.restart_dead()

    def news():
        earlier = [step for folder, step in run.attempts().items() if folder in before]
        kill.done = max([kill.done, *earlier])
        if kind == "loader process" and kill.done - kill.at > BATCHES:
            # It had read its epoch to the end: another one.
            kill.at = kill.done
            run.kill(kind, draw)
        return run.resumed().keys() - resumed.keys()

    (errors,) = run.until(news, "restart", may_end=kind in ("driver", "controller"))
    kill.resumed = run.resumed()[errors]

    def stepped():
        return [
            step
            for folder, step in run.attempts().items()
            if folder not in before and step > kill.resumed
        ]

    run.until(stepped, "step")
    kill.recovered_s = time.monotonic() - began
    return kill


def _ledger(store):
    """All lines of a run's ledger."""
    return [
        json.loads(line)
        for name in store.names(FOLDER)
        for line in store.read(name).decode().splitlines()
    ]


def _check_ledger(lines, keys):
    """Every step stands there once, and in every epoch every sample."""
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    epochs = defaultdict(list)
    for line in lines:
        assert line["batch"] == len(epochs[line["plan_epoch"]]) // BATCH
        epochs[line["plan_epoch"]] += line["keys"]
    assert list(epochs) == list(range(EPOCHS))
    for consumed in epochs.values():
        assert sorted(consumed) == sorted(keys)


def _table(kills, start_s):
    rows = [
        f"| {number} | {kill.what} | {kill.at} | {kill.done - kill.resumed} "
        f"| {kill.recovered_s:.0f} | {kill.recovered_s / start_s:.1f} |"
        for number, kill in enumerate(kills, start=1)
    ]
    head = ["| | killed | after step | steps lost | back after, s | in starts |", "|---" * 6 + "|"]
    start = f"A clean start, from the command to the end of the first step, took {start_s:.0f} s."
    return "\n".join([*head, *rows, "", start])


@pytest.fixture
def nodes(s3, tmp_path):
    with Nodes(tmp_path) as cluster:
        yield cluster


def test_a_run_whose_processes_are_killed_at_every_level_ends_as_if_they_were_not(
    s3, nodes, shards, tmp_path
):
    storage, draw = s3.url("chaos"), random.Random(SEED)
    with (tmp_path / "whole.log").open("a") as log:
        finish(Trained(nodes, shards, storage, "whole", log).driver, log, within_s=3000)
    kills = []
    with (tmp_path / "cut.log").open("a") as log:
        began = time.monotonic()
        run = Trained(nodes, shards, storage, "cut", log)
        run.until(lambda: any(run.attempts().values()), "first step")
        start_s = time.monotonic() - began
        for kind, step in _plan(draw):
            run.until(lambda at=step: max(run.attempts().values()) >= at, f"step {step}")
            kills.append(_recover(run, kind, draw))
            print(_table(kills, start_s), flush=True)
        finish(run.driver, log, within_s=3000)
    whole, cut = (open_store(join_url(storage, name)) for name in ("whole", "cut"))
    ledger = _ledger(cut)
    _check_ledger(ledger, open_split(shards, "train").table.keys)
    assert ledger == _ledger(whole)
    assert_same_end(end_of(storage, "cut"), end_of(storage, "whole"))
    assert not list(nodes.tmp.glob("retdm-scratch-*"))
