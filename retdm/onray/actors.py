"""Works through many items by processes that take long to set up, as a pool of actors of Ray Data.

The counterpart of `tasks` for work that holds a model. An item whose process or machine was lost
is done again from its beginning, so what is done must bear being done twice.
"""

import logging
import pickle
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import ray
import ray.data
import ray.exceptions

from retdm.console import Failed
from retdm.errors import ConfigError, RetdmError
from retdm.onray.failure import death
from retdm.onray.failures import speak

Item = TypeVar("Item")
Step = TypeVar("Step")
Work = Callable[[Item], Iterator[Step]]
_RETRIES = 3
"""Of an item whose process was lost: it may be the item that kills it."""
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads of torch must not keep those that decode from the cores, as in the program itself."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many actors there are, and what each has of its machine."""

    actors: int
    cpus: int
    gpus: int


def share_out(machines: Sequence[Mapping[str, float]], actors: int | None) -> Share:
    """The actors for a cluster: by default one for each GPU, without any one for each machine.

    Each has a GPU if the cluster has any, and all have equally many cores, as many as there is
    room for.

    Args:
        machines: "CPU" and "GPU" of each.
        actors: How many are wanted; None for the default.

    Raises:
        ConfigError: If there is no room for so many.

    Example:
        >>> share_out([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0}], None)
        Share(actors=4, cpus=4, gpus=1)
    """
    with_cores = [machine for machine in machines if machine.get("CPU", 0) >= 1]
    gpus = sum(int(machine.get("GPU", 0)) for machine in with_cores)
    wanted = actors or gpus or len(with_cores)
    gpu = 1 if gpus else 0
    most = max((int(machine["CPU"]) for machine in with_cores), default=0)
    for cpus in range(most, 0, -1):
        if 0 < wanted <= sum(_places(machine, cpus, gpu) for machine in with_cores):
            return Share(wanted, cpus, gpu)
    cores = sum(int(machine["CPU"]) for machine in with_cores)
    raise ConfigError(
        f"--actors {wanted or 1}: each needs a CPU core{' and a GPU' if gpu else ''}, Ray has "
        f"{cores} cores and {gpus} GPUs; ask for fewer actors, or use a larger cluster"
    )


def _places(machine: Mapping[str, float], cpus: int, gpus: int) -> int:
    places = int(machine["CPU"]) // cpus
    return min(places, int(machine.get("GPU", 0)) // gpus) if gpus else places


def machines() -> list[dict[str, float]]:
    """The resources of each machine of the cluster that this process is connected to."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def run_actors(
    make: Callable[[Share], Work[Item, Step]], items: Iterable[Item], share: Share, *, less: str
) -> Generator[Step, None, None]:
    """Yield what the work on each item yields, of several items in turns.

    Args:
        make: Called in each actor with `share`, to set up the work.
        items: What to work on, in this order; all are handed to Ray's object store. The work on
            an item must yield the same number of times whenever it is done.
        share: From `share_out`.
        less: What takes less memory, to be said if a process was lost.

    Raises:
        RetdmError: What `make` or the work raises.
        Failed: If the processes that had an item were lost again and again.
        RayTaskError: For a bug in `make` or the work; has its traceback.
    """
    blocks = [pa.table({"item": [pickle.dumps(item)]}) for item in items]
    if not blocks:
        return
    _tame()
    pool = ray.data.ActorPoolStrategy(
        size=min(share.actors, len(blocks)),
        max_tasks_in_flight_per_actor=1,  # or items would wait for one actor beside an idle one
    )
    with warnings.catch_warnings():
        # Ray 2.60 warns of `max_task_retries`, and has nothing yet in its place.
        warnings.simplefilter("ignore")
        steps = ray.data.from_arrow(blocks).map_batches(
            _Actor,
            fn_constructor_args=(make, share),
            batch_size=1,
            batch_format="pyarrow",
            compute=pool,
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            max_task_retries=_RETRIES,
            runtime_env={"env_vars": _ENVIRONMENT},
        )
    del blocks
    try:
        for row in steps.iter_rows():
            step = pickle.loads(row["step"])
            if isinstance(step, _Raised):
                raise step.error
            yield step
    except ray.exceptions.RayError as error:
        # Where in Ray Data it came up says nothing.
        raise _explained(error, less).with_traceback(None) from None


@dataclass(frozen=True, slots=True)
class _Raised:
    """An error on its way to the driver, without Ray's traceback around it."""

    error: RetdmError


class _Actor:
    """What runs in each process of the pool."""

    def __init__(self, make: Callable[[Share], Work[Any, Any]], share: Share) -> None:
        speak()
        self._wrong: Exception | None = None
        try:
            self._work = make(share)
        except Exception as error:
            # Raised here, Ray would start another actor, and another.
            self._wrong = error

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """The steps of one item."""
        (item,) = batch["item"].to_pylist()
        try:
            if self._wrong is not None:
                raise self._wrong
            for step in self._work(pickle.loads(item)):
                yield _row(step)
        except RetdmError as error:
            yield _row(_Raised(error))


def _row(step: Any) -> pa.Table:
    return pa.table({"step": [pickle.dumps(step)]})


def _explained(error: ray.exceptions.RayError, less: str) -> BaseException:
    """A lost process in one line; else the error, a bug, whose text is the actor's traceback."""
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    # Ray Data wraps what its actors raise in an error of Ray.
    is_bug = isinstance(cause, ray.exceptions.UserCodeException)
    if isinstance(cause, ray.exceptions.RayError) and not is_bug:
        return Failed(f"{death(str(cause), less=less)}; the same command goes on")
    bug: BaseException = error
    return bug


def _tame() -> None:
    """Have Ray Data hand over each step at once, and say nothing of itself."""
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1  # or a step would wait for 128 MiB of them
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # It tells of a lost process by a traceback of its own, beside what it raises.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
