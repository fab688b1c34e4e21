"""Packs tars on the machines of a Ray cluster."""

import functools
from collections.abc import Generator, Iterable
from pathlib import Path

from retdm.claims import Claim
from retdm.errors import StorageError
from retdm.onray.installed import need_ray
from retdm.shard.packer import BadPhotos, PackTask, pack
from retdm.shard.unfinished import PackedShard


def pack_on_ray(
    tasks: Iterable[PackTask], *, source: Path, held: Claim, address: str
) -> Generator[PackedShard | BadPhotos | None, None, None]:
    """Yield None for each photo and the outcome of each tar, in any order.

    Args:
        tasks: The tars.
        source: Folder of the data set; every machine must see it under this path.
        held: The claim on the destination, which every machine must see as well.
        address: Of the cluster; "auto": the one that is found.

    Raises:
        ConfigError: If there is no cluster, or one of its machines sees not all it needs.
        RetdmError: As `pack` does.
    """
    need_ray()
    # Importing Ray takes seconds, which other builds need not spend.
    from retdm.onray.tasks import run_tasks

    probe = functools.partial(_unreachable, source.absolute(), held)
    return run_tasks(pack, tasks, address=address, probe=probe)


def _unreachable(source: Path, held: Claim) -> str | None:
    """What this machine does not see."""
    if not source.is_dir():
        return (
            f"--source {source} is not there; mount it under the same path on every machine of "
            "the cluster"
        )
    try:
        held.check()
    except StorageError as error:
        return (
            f"--out is not the same place ({error}); use s3://, or a folder that is mounted under "
            "the same path on every machine of the cluster"
        )
    return None
