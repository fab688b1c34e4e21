"""Runs a function over many items as Ray tasks, on whatever machines a cluster has.

The counterpart of `retdm.shard.crew` for a cluster. Ray repeats a task whose process or machine
was lost, so what the function does must bear being done twice.
"""

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from retdm.errors import ConfigError, RetdmError
from retdm.onray.joining import connected

Item = TypeVar("Item")
Result = TypeVar("Result")
_WAITING_EACH = 2
"""Tasks handed to Ray for each core, so that a core need not wait for its next one."""


def run_tasks(
    work: Callable[[Item], Iterator[Result | None]],
    items: Iterable[Item],
    *,
    address: str,
    probe: Callable[[], str | None],
) -> Generator[Result | None, None, None]:
    """Yield the result of each item as soon as it is there, and None for each of its steps.

    Closing the iterator, or Ctrl-C, ends the tasks.

    Args:
        work: A function of a module that is installed on all machines; yields None for each step
            and at last the result.
        items: What to work on; taken as late as possible.
        address: Of the cluster; "auto": RAY_ADDRESS, or the one that runs on this machine.
        probe: Run on every machine first; what is wrong there, or None.

    Raises:
        ConfigError: If there is no cluster, or a probe finds something wrong.
        RetdmError: What `work` raises; or that Ray lost a task again and again.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto")
    with connected(address, said="--ray", log_to_driver=False, logging_level=logging.WARNING):
        _probe_all(probe)
        yield from _run(work, iter(items))


def _probe_all(probe: Callable[[], str | None]) -> None:
    call = ray.remote(num_cpus=0)(_look)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    answers = {
        address: call.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(probe)
        for node, address in nodes.items()
    }
    for address, answer in answers.items():
        wrong = _result(answer)
        if wrong:
            raise ConfigError(f"--ray: on machine {address}, {wrong}")


def _look(probe: Callable[[], str | None]) -> str | None:
    return probe()


def _run(
    work: Callable[[Item], Iterator[Result | None]], items: Iterator[Item]
) -> Generator[Result | None, None, None]:
    call = ray.remote(_exhaust)
    waiting: list[Any] = []
    try:
        while True:
            most = _WAITING_EACH * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while len(waiting) < most:
                try:
                    waiting.append(call.remote(work, next(items)))
                except StopIteration:
                    break
            if not waiting:
                return
            done, waiting = ray.wait(waiting)
            for one in done:
                steps, result = _result(one)
                yield from [None] * steps
                yield result
    finally:
        for one in waiting:
            ray.cancel(one, force=True)


def _exhaust(work: Callable[[Any], Iterator[Any]], item: Any) -> tuple[int, Any]:
    """What one task does: the number of steps, and the result."""
    *steps, result = work(item)
    return len(steps), result


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        # Ray's own error has the remote traceback for a text; ours is one line for the user.
        if isinstance(error.cause, RetdmError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise RetdmError(
            f"Ray lost a task again and again ({str(error).splitlines()[0]}); see that its "
            "machines have memory and stay up, and run it again"
        ) from error
