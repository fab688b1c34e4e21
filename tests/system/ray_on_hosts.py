"""A Ray cluster whose nodes are hosts of a test network, and runs of jobs/train.py on it."""

import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.system.hosts import DEVICE, Host, Network

ROOT = Path(__file__).resolve().parents[2]
GCS_PORT = 6379
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
}
NODE_DEAD_S = 24
"""After that the head gives a silent node up: 4 * (5 + 1)."""

SHARED_MEMORY = {"RAY_memory_monitor_refresh_ms": "0"}
"""Let no worker be killed because other programs of this machine need much memory."""


class Cluster:
    """A head, and nodes that join it; a core holds one worker."""

    def __init__(
        self, network: Network, head: Host, s3: Mapping[str, str], *, cores: int = 1
    ) -> None:
        self._network, self._head = network, head
        token = network.folder / f"{head.name}.token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        self.env = {
            **os.environ, **s3, **HEALTH, **SHARED_MEMORY,
            "HOME": str(Path.home()),
            "PYTHONPATH": str(ROOT),
            # Also tells Ray programs of this machine of a cluster: each host has its own.
            "RAY_TMPDIR": str(network.own),
            "RAY_ADDRESS": f"{head.ip}:{GCS_PORT}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "GLOO_SOCKET_IFNAME": DEVICE,
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.join(head, cores=cores)

    def join(self, host: Host, *, cores: int = 1) -> None:
        """Start Ray on a host."""
        place: tuple[str, ...] = ("--head", f"--port={GCS_PORT}", "--include-dashboard=false")
        if host is not self._head:
            place = (f"--address={self.env['RAY_ADDRESS']}",)
        env = {name: value for name, value in self.env.items() if name != "RAY_ADDRESS"}
        with (host.folder / "ray.log").open("ab") as log:
            self._nodes[host.name] = host.start(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *place, "--block",
                 f"--node-ip-address={host.ip}", f"--num-cpus={cores}",
                 f"--object-store-memory={80 * 2**20}", "--disable-usage-stats"],
                env=env, out=log,
            )  # fmt: skip

    def has_left(self, host: Host) -> bool:
        """Whether Ray has ended on a host by itself, as it does where the head gave it up."""
        return self._nodes[host.name].poll() is not None

    def await_nodes(self, number: int, *, limit_s: float = 300) -> None:
        """Wait until the head knows so many living nodes."""
        code = (
            "import ray,sys,time; ray.init(logging_level='ERROR', log_to_driver=False)\n"
            f"while sum(node['Alive'] for node in ray.nodes()) != {number}: time.sleep(0.2)"
        )
        with (self._head.folder / "nodes.log").open("ab") as log:
            waiting = self._head.start([sys.executable, "-c", code], env=self.env, out=log)
        try:
            assert waiting.wait(limit_s) == 0, self.logs()
        except subprocess.TimeoutExpired:
            pytest.fail(f"there are not {number} nodes after {limit_s} s\n{self.logs()}")

    def logs(self) -> str:
        """The ends of what Ray said on each host."""
        files = sorted(self._network.folder.glob("*/*.log"))
        return "\n".join(f"{file}:\n{file.read_text()[-1500:]}" for file in files)


class Training:
    """One jobs/train.py, begun on a host; remembers when it said what."""

    def __init__(self, cluster: Cluster, host: Host, *arguments: str, **env: str) -> None:
        self.began = time.monotonic()
        self._driver = host.start(
            [sys.executable, *arguments],
            env=cluster.env | env, out=subprocess.PIPE,
        )  # fmt: skip
        self.lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._driver.stdout is not None
        with self._driver.stdout as stdout:
            for line in stdout:
                if b"(PlacementGroupCleaner" not in line:  # it misses the dashboard, every second
                    self.lines.append((time.monotonic(), line.decode(errors="replace").rstrip()))

    def await_line(self, pattern: str, *, after: float = 0.0, limit_s: float = 600) -> float:
        """When it said something, at `after` or later; waits for it."""
        found = re.compile(pattern)
        ends = time.monotonic() + limit_s
        while True:
            for at, line in list(self.lines):
                if at >= after and found.search(line):
                    return at
            ended = not self._reader.is_alive()
            assert not ended, f"it ended without saying {pattern!r}:\n{self.text()}"
            assert time.monotonic() < ends, f"no {pattern!r} in {limit_s} s:\n{self.text()}"
            time.sleep(0.1)

    def finish(self, *, limit_s: float = 900) -> int:
        """Wait for its end; its exit status."""
        try:
            status = self._driver.wait(limit_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it has not ended after {limit_s} s:\n{self.text()}")
        self._reader.join(30)
        return status

    def text(self) -> str:
        """What it said, with the seconds since its beginning."""
        return "\n".join(f"{at - self.began:7.1f} {line}" for at, line in list(self.lines))
