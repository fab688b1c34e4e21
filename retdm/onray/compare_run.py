"""Runs the cells of a comparison: reuses finished ones, resumes begun ones, several at a time.

Every cell is a Ray Train run whose driver is a thread of this process, all in one Ray job. A cell
that fails stops those that start from it and no others. The same call again goes on where an
earlier one was cut off.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ray

from retdm.config import Config
from retdm.console import Stopped, counted
from retdm.errors import RetdmError
from retdm.onray.asked import wants_gpus
from retdm.onray.compare_plan import Cell
from retdm.onray.compare_standing import standing, starting
from retdm.onray.failures import in_one_line
from retdm.onray.joining import join
from retdm.onray.launch import run_on_ray
from retdm.onray.stopping import Stoppable
from retdm.onray.workers import Workers
from retdm.storage import join_url, open_store

log = logging.getLogger(__name__)
How = Literal["reused", "trained", "failed"]


@dataclass(frozen=True)
class Outcome:
    """How a cell ended."""

    cell: Cell
    how: How
    seconds: float
    result: dict[str, Any] | None
    error: str


def concurrency_for(config: Config, workers: Workers) -> int:
    """How many cells fit into the cluster as it is now, loading processes counted; at least 1."""
    have = ray.cluster_resources()
    cores = workers.high * (config.run.cpus_per_worker + config.data.loader_workers)
    fit = have.get("CPU", 0) / cores
    gpus = have.get("GPU", 0)
    if wants_gpus(config, workers, gpus):
        fit = min(fit, gpus / workers.high)
    return max(1, int(fit))


def run_cells(
    cells: Sequence[Cell],
    *,
    storage: str,
    workers: Workers,
    concurrency: int | None,
    on_outcome: Callable[[Outcome], None],
) -> list[Outcome]:
    """Bring every cell to its end and return how each ended, in the order of the ends.

    Args:
        cells: In the order to start them; a shared stage before the cells that need it.
        storage: URL of the folder that holds all cells.
        workers: Of each cell.
        concurrency: Cells at a time; None: as many as the cluster has room for.
        on_outcome: Called in this thread after each cell.

    Raises:
        Stopped: After SIGTERM or Ctrl-C, when the runs at work have written checkpoints.
    """
    outcomes: list[Outcome] = []
    failed: dict[str, str] = {}

    def ended(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if outcome.how == "failed":
            failed[outcome.cell.name] = outcome.error
        on_outcome(outcome)

    to_run: list[Cell] = []
    for cell in cells:
        try:
            result = standing(storage, cell).result
        except RetdmError as error:
            ended(Outcome(cell, "failed", 0.0, None, str(error)))
            continue
        if result is None:
            to_run.append(cell)
        else:
            ended(Outcome(cell, "reused", 0.0, result, ""))
    to_run = _wanted(to_run)
    if not to_run:
        return outcomes
    join()
    at_once = concurrency or concurrency_for(to_run[0].config, workers)
    log.info("%s to run, %d at a time", counted(len(to_run), "cell"), at_once)
    try:
        with Stoppable[Outcome]() as stoppable:
            _run_all(to_run, storage, workers, at_once, failed, ended, stoppable)
    except Stopped:
        raise
    except BaseException:
        # Ends the runs: their actors live no longer than this job. Their checkpoints stay.
        ray.shutdown()
        raise
    return outcomes


def _wanted(to_run: list[Cell]) -> list[Cell]:
    """Without shared stages that only finished cells would start from."""
    needed = {cell.shared for cell in to_run}
    return [cell for cell in to_run if cell.columns or cell.name in needed]


def _run_all(
    to_run: list[Cell],
    storage: str,
    workers: Workers,
    at_once: int,
    failed: Mapping[str, str],
    ended: Callable[[Outcome], None],
    stoppable: Stoppable[Outcome],
) -> None:
    waiting, running = list(to_run), dict[str, Cell]()
    begun, total, done = time.monotonic(), sum(c.epochs for c in to_run), 0
    count = 0
    while waiting or running:
        for cell in [cell for cell in waiting if cell.shared in failed]:
            waiting.remove(cell)
            why = f"the stage it starts from failed ({cell.shared}): {failed[cell.shared]}"
            ended(Outcome(cell, "failed", 0.0, None, why))
            count, done = count + 1, done + cell.epochs
        undone = {cell.name for cell in waiting} | running.keys()
        ready = [cell for cell in waiting if cell.shared not in undone]
        for cell in ready[: at_once - len(running)]:
            waiting.remove(cell)
            running[cell.name] = cell
            log.info("%s: started (%s)", cell.title, cell.name)
            # A thread that hangs in Ray must not keep the program from ending.
            threading.Thread(
                target=lambda cell: stoppable.ended(
                    _url(storage, cell), _run(cell, storage, workers)
                ),
                args=(cell,),
                name=cell.name,
                daemon=True,
            ).start()
        if not running:
            continue
        outcome = stoppable.wait(lambda: [_url(storage, cell) for cell in running.values()])
        del running[outcome.cell.name]
        count, done = count + 1, done + outcome.cell.epochs
        log.info("%s", progress_line(outcome, count, len(to_run), begun, done / max(total, 1)))
        ended(outcome)


def progress_line(outcome: Outcome, count: int, cells: int, begun: float, share: float) -> str:
    """One line after each cell; `share` is the part of all epochs that is done."""
    elapsed = time.monotonic() - begun
    said = f"FAILED: {outcome.error}" if outcome.how == "failed" else "done"
    if outcome.result is not None and outcome.cell.columns:
        split, values = next(iter(outcome.result["metrics"].items()))
        said = f"{split} mAP {values['mAP'] or 0:.4f}, OF1 {values['OF1']:.4f}"
    rest = f", about {_clock(elapsed * (1 - share) / share)} left" if 0 < share < 1 else ""
    return (
        f"cell {count} of {cells}: {outcome.cell.title}: {said}; took {_clock(outcome.seconds)}; "
        f"elapsed {_clock(elapsed)}{rest}"
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _url(storage: str, cell: Cell) -> str:
    """As its workers know it."""
    return open_store(join_url(storage, cell.name)).url


def _run(cell: Cell, storage: str, workers: Workers) -> Outcome:
    """Run, in a thread of its own, whatever comes of it."""
    begun = time.monotonic()
    try:
        config = starting(cell, storage)
        result = run_on_ray(
            config, storage=storage, name=cell.name, workers=workers, resume="auto"
        )
    except Exception as error:
        said = in_one_line(error)
        return Outcome(cell, "failed", time.monotonic() - begun, None, said)
    return Outcome(cell, "trained", time.monotonic() - begun, result, "")
