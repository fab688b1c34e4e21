"""Whether the loader's memory and cache stay what they are, epoch after epoch, read from S3.

    python tests/bench/bench_memory.py [--photos N] [--epochs E]

Starts the S3 server of cluster/local, writes N small photos in shards of 64 there, and reads them
for E epochs with two loader processes through a cache that holds a third of them: less than one
epoch, so that shards are evicted and fetched all the time. Prints after each epoch the memory of
the training process and of the loader processes (without files; pages that they share count in
parts), and the most that the cache held during it.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

from retdm.config import DataSettings
from retdm.data.cache import NodeCache
from retdm.data.loader import TrainingLoader
from retdm.data.split import open_split

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cluster/local"))
import s3_server

from tests.data.conftest import build, jpeg

PER_SHARD = 64
MIB = 2**20


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Watch the loader's memory over some epochs.")
    parser.add_argument("--photos", type=int, default=3072)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Path(folder) / "s3"
        os.environ |= s3_server.start(server, bucket="bench", tied=True)
        try:
            _watch(args.photos, args.epochs, Path(folder) / "cache")
        finally:
            s3_server.stop(server)
    return 0


def _watch(photos: int, epochs: int, cache: Path) -> None:
    distinct = [jpeg(number, width=320, height=240) for number in range(16)]
    build("s3://bench/set", (distinct * -(-photos // 16))[:photos], per_shard=PER_SHARD)
    data = open_split("s3://bench/set", "train")
    sizes = [shard.bytes for shard in data.info.shards]
    settings = DataSettings(
        url=data.url,
        batch_size=64,
        shuffle_window=4,
        read_ahead=4,
        cache_dir=str(cache),
        cache_bytes=sum(sizes) // 3,
    )
    print(
        f"{photos} photos, {sum(sizes) / MIB:.1f} MiB in {len(sizes)} shards; the cache may hold "
        f"{settings.cache_bytes / MIB:.1f} MiB"
    )
    print(f"{'':>8}{'MiB of':>18}\n{'epoch':>8}{'training':>10}{'loaders':>10}{'cache':>10}")
    held = NodeCache(cache, settings.cache_bytes)
    loader = TrainingLoader(data, settings, seed=0, rank=0, world_size=1)
    for epoch in range(epochs):
        most = 0
        for _ in loader.epoch(epoch):
            most = max(most, held.used_bytes())
        own = _mib(os.getpid())
        others = sum(_mib(child.pid) for child in multiprocessing.active_children())
        print(f"{epoch:8}{own:10.1f}{others:10.1f}{most / MIB:10.1f}", flush=True)
    loader.close()


def _mib(pid: int | None) -> float:
    """Memory that is no file's: those pages count in it by how many other programs map them."""
    fields = (
        line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    return sum(int(f[1]) for f in fields if f[0] in ("Pss_Anon:", "Pss_Shmem:")) / 1024


if __name__ == "__main__":
    sys.exit(main())
