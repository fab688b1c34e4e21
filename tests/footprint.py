"""What a process and all its descendants hold of a machine, as the kernel counts it."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_OWN = ("RssAnon", "RssShmem", "VmSwap")


@dataclass(frozen=True)
class Footprint:
    """Sums over a tree of processes at one moment."""

    memory_kib: int
    """Memory that is no file's, swapped or not; what processes share is counted for each.

    Resident memory as a whole would go down where a busy machine takes back pages of libraries.
    """
    descriptors: int
    threads: int
    processes: int
    shared_memory: int
    """Mappings of files in /dev/shm, where semaphores and tensors on their way lie."""
    files: int
    """In the folder for temporary files, at any depth, folders counted."""

    @staticmethod
    def of(root: int, temporary: Path, *, below: bool = True) -> "Footprint":
        """Of the process `root` and its descendants; those that end meanwhile count in part.

        Args:
            root: Process number.
            temporary: The folder for temporary files.
            below: False leaves out the descendants.
        """
        tree = _tree(root) if below else [root]
        return Footprint(
            memory_kib=sum(_status(pid, kind) for pid in tree for kind in _OWN),
            descriptors=sum(_entries(f"/proc/{pid}/fd") for pid in tree),
            threads=sum(_status(pid, "Threads") for pid in tree),
            processes=len(tree),
            shared_memory=sum(_text(pid, "maps").count(" /dev/shm/") for pid in tree),
            files=sum(1 for _ in temporary.rglob("*")),
        )


def _tree(root: int) -> list[int]:
    children = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := _text(int(name), "stat")):
            children[int(stat.rpartition(")")[2].split()[1])].append(int(name))
    tree = [root]
    for pid in tree:
        tree += children[pid]
    return tree


def _status(pid: int, field: str) -> int:
    for line in _text(pid, "status").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


def _text(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def _entries(folder: str) -> int:
    try:
        return len(os.listdir(folder))
    except OSError:
        return 0
