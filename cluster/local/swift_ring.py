"""Writes Swift's ring files: which server holds what, here one disk behind each server.

Usage: `python swift_ring.py FOLDER KIND=PORT...` writes FOLDER/KIND.ring.gz. It is a program of
its own because importing Swift lets eventlet replace parts of `threading` and `socket`, which no
other program should suffer.
"""

import sys
from pathlib import Path

from swift.common.ring.builder import RingBuilder

_PART_POWER = 4  # 2^4 partitions; more would only make more folders on a single disk


def main() -> None:
    """Write one file for each KIND=PORT."""
    folder, *servers = sys.argv[1:]
    for server in servers:
        kind, _, port = server.partition("=")
        ring = RingBuilder(_PART_POWER, 1, 0)
        ring.add_dev(
            {
                "id": 0,
                "region": 1,
                "zone": 1,
                "device": "d1",
                "weight": 1.0,
                "meta": "",
                "ip": "127.0.0.1",
                "port": int(port),
                "replication_ip": "127.0.0.1",
                "replication_port": int(port),
            }
        )
        ring.rebalance(seed=1)
        ring.get_ring().save(str(Path(folder) / f"{kind}.ring.gz"))


if __name__ == "__main__":
    main()
