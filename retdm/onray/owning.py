"""Lets one program at a time have what a cluster has once.

The name of an actor is taken by one of two programs that ask at the same moment, and is free again
when that program ends, in whatever way.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.exceptions

_NAMESPACE = "retdm-owners"


class _Owner:
    """Nothing but its name."""


@contextmanager
def owned(what: str) -> Iterator[bool]:
    """Have `what` of this cluster for the block.

    Yields:
        Whether that is so; False if another program has it.
    """
    try:
        owner = ray.remote(num_cpus=0)(_Owner).options(name=what, namespace=_NAMESPACE).remote()
    except ray.exceptions.ActorAlreadyExistsError:
        yield False
        return
    try:
        yield True
    finally:
        ray.kill(owner)
