"""What a search costs beside training: from a trial's begin to its first step.

    python tests/bench/bench_search.py [--trials N] [--concurrency M]

Runs jobs/tune.py on 64 rendered scenes with tiny trials, in a Ray of its own. Prints for each
trial the seconds from its record in the study to its first step, and how they are made up: until
the trial's process has asked Ray Train for workers, until a worker trains, until a step is done.
The first trial at each place starts processes that later ones find (Ray Tune's trial process);
the median is that of the later ones.
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import optuna
from machine import one_line
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retdm.shard.build import build
from retdm.shard.spec import load_spec

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    "data.batch_size=16",
    "data.image_size=32",
    "data.loader_workers=0",
    "model.backbone=resnet18",
    "model.weights=none",
    "bank.warmup_steps=0",
    "run.log_every_steps=1",
    "stages.*.epochs=1",
    "tune.space.loss.lambda1={log=[0.01, 1]}",
    "tune.prune=none",
)


def main() -> int:
    """Search, then read when everything was."""
    parser = argparse.ArgumentParser(description="Time from a trial's begin to its first step.")
    parser.add_argument("--trials", type=int, default=6, help="in all (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=1, help="at a time (%(default)s)")
    args = parser.parse_args()
    print(one_line())
    with tempfile.TemporaryDirectory() as folder:
        _search(Path(folder), args.trials, args.concurrency)
        rows = _times(Path(folder, "runs/s"))
    print(f"{'trial':>5} {'asked':>7} {'worker':>7} {'step':>7} {'sum, s':>7}")
    for number, row in enumerate(rows):
        print(f"{number:5} " + " ".join(f"{part:7.1f}" for part in [*row, sum(row)]))
    later = rows[args.concurrency :] or rows
    print(f"median of those after the first: {median(sum(row) for row in later):.1f} s")
    return 0


def _search(folder: Path, trials: int, concurrency: int) -> None:
    spec, options = load_spec(
        ROOT / "shards/synthetic.toml",
        ["options.images=64", "options.size=48", "shards.samples=10"],
    )
    (folder / "source").mkdir()
    build(spec, options, source=folder / "source", out=str(folder / "shards"))
    words = [f"--set={pair}" for pair in (f"data.url={folder / 'shards'}", *SETTINGS)]
    words += ["--storage", str(folder / "runs"), "--run-name", "s", "--trials", str(trials)]
    words += ["--concurrency", str(concurrency)]
    env = {**os.environ, "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "jobs/tune.py"), str(ROOT / "jobs/recipes/demo.toml")]
    log = folder / "log"
    with log.open("w") as out:
        done = subprocess.run([*command, *words], env=env, stdout=out, stderr=out, check=False)
    if done.returncode:
        sys.exit(log.read_text()[-3000:])


def _times(search: Path) -> list[tuple[float, float, float]]:
    """Of each trial: seconds to its `run.json`, from there to training, from there to a step."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{search / 'study.db'}")
    rows = []
    for trial in study.get_trials():
        run = search / "trials" / f"{trial.number:04d}"
        assert isinstance(trial.datetime_start, datetime.datetime)
        begun = trial.datetime_start.timestamp()
        asked = (run / "run.json").stat().st_mtime
        worker = (run / "_attempt/latest").stat().st_mtime
        events = EventAccumulator(str(run / "tensorboard"))
        events.Reload()
        first = min(event.wall_time for tag in events.Tags()["scalars"] for event in
                    events.Scalars(tag)[:1])  # fmt: skip
        rows.append((asked - begun, worker - asked, first - worker))
    return rows


if __name__ == "__main__":
    sys.exit(main())
