"""Checks of room: of shared memory, and of the cache's disk. Each returns the faults it finds."""

import math

from retdm.config import Config, DataSettings
from retdm.data.loader import _PREFETCH
from tests.cluster.commands import Command, commands_on
from tests.cluster.leaving import checkpoint_bytes
from tests.cluster.machines import GPU
from tests.cluster.manifests import Document, amount, clusters, mounted, quantity, ray_container

_NCCL_BYTES = 256 * 2**20
"""Of shared memory for each rank, generously."""


def small_shared_memory(documents: list[Document]) -> list[str]:
    """/dev/shm has room for Ray's store, all batches of all loaders, and NCCL, within memory."""
    out = []
    for cluster in clusters(documents):
        for command in commands_on(cluster, documents):
            for group in cluster.groups:
                name = group.get("groupName", "head")
                volume = mounted(group, "/dev/shm")
                if volume is None or volume["emptyDir"].get("medium") != "Memory":
                    out.append(f"{name}: no memory volume at /dev/shm")
                    continue
                need = int(group["rayStartParams"].get("object-store-memory", 2**62))
                if group is not cluster.head:
                    need += max((_loaded(group, command, c) for c in command.configs), default=0)
                room = quantity(volume["emptyDir"]["sizeLimit"])
                if need > room:
                    out.append(f"{name}: /dev/shm has {room:.3g} bytes, {need:.3g} are needed")
                if room > amount(ray_container(group), "memory") / 2:
                    out.append(f"{name}: /dev/shm may take more than half of the memory")
    return out


def _loaded(group: Document, command: Command, config: Config) -> int:
    """Bytes of batches that wait for the ranks of a pod, and of NCCL."""
    data = config.data
    rows = math.ceil(data.batch_size / command.workers.low)
    # Those on their way, the one in use, the one that is copied; of training and of evaluation.
    batches = 2 * (data.loader_workers * _PREFETCH + 2)
    images = rows * 3 * data.image_size**2
    nccl = _NCCL_BYTES if amount(ray_container(group), GPU) else 0
    return ranks(group, config) * (batches * images + nccl)


def ranks(group: Document, config: Config) -> int:
    """How many workers of a run a pod has room for."""
    container = ray_container(group)
    by_cores = int(amount(container, "cpu") / config.run.cpus_per_worker)
    return min(by_cores, int(amount(container, GPU))) if amount(container, GPU) else by_cores


def small_cache(documents: list[Document]) -> list[str]:
    """The cache lies on a volume of its own, as large as its limit and within the pod's disk."""
    out = []
    for cluster in clusters(documents):
        for command in commands_on(cluster, documents):
            for group, config in [(g, c) for g in cluster.workers for c in command.configs]:
                name, data = f"group {group['groupName']}", config.data
                folder = data.cache_dir if cluster.job else "/cache"
                volume = mounted(group, folder)
                if volume is None or "emptyDir" not in volume:
                    out.append(f"{name}: data.cache_dir={folder!r} is on no volume of the node")
                    continue
                room = quantity(volume["emptyDir"].get("sizeLimit", 0))
                if room < 1.05 * data.cache_bytes:
                    out.append(
                        f"{name}: the volume has {room:.3g} bytes, data.cache_bytes (default "
                        f"{DataSettings().cache_bytes}) is {data.cache_bytes}"
                    )
                disk = amount(ray_container(group), "ephemeral-storage")
                if 0 < disk < room + 4 * checkpoint_bytes(config):
                    out.append(f"{name}: ephemeral-storage {disk:.3g} has no room for the cache")
    return out


CHECKS = [small_shared_memory, small_cache]
