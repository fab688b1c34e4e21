"""A Ray cluster of several nodes on this machine whose raylets may be killed and started again.

The head has no CPUs, so that it holds programs and controllers, and the others hold the workers.
Each node has a loopback address of its own.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import background
import ray_head

from tests.system.killing import descendants
from tests.system.test_coco_to_result import ROOT

_HEAD = "127.0.0.2"
_ADDRESSES = ("127.0.0.3", "127.0.0.4")
_START_LIMIT_S = 300


class Nodes:
    """A head and one node with one CPU for each of two workers; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes = {}
        self.client = {}
        """The environment in which programs find the cluster."""
        # Short, for the sockets in it.
        self.tmp = Path(tempfile.mkdtemp(prefix="retdm-nodes-", dir="/tmp"))
        """Temporary folder of all that runs on the cluster."""

    def __enter__(self):
        self._env = {
            **os.environ,
            "TMPDIR": str(self.tmp),
            "PYTHONPATH": str(ROOT),
            "GLOO_SOCKET_IFNAME": "lo",
            # Or Ray would kill what the test does not want killed when others fill the memory.
            "RAY_memory_monitor_refresh_ms": "0",
            # Or take a node for dead whose raylet is slow. One that is killed refuses five looks,
            # which are as far apart as this says; training may go on meanwhile.
            "RAY_health_check_timeout_ms": "120000",
            "RAY_health_check_period_ms": "400",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        port = background.free_port()
        self.client = {"RAY_ADDRESS": f"{_HEAD}:{port}", "RAY_AUTH_MODE": "disabled"}
        self._head = self._start(
            _HEAD,
            "--head",
            "--include-dashboard=false",
            f"--port={port}",
            f"--ray-client-server-port={background.free_port()}",
            f"--temp-dir={self.tmp}/r",
            cpus=0,
        )
        for address in _ADDRESSES:
            self.start_node(address)
        return self

    def __exit__(self, *_):
        background.end([*self._nodes.values(), self._head], grace_s=15)
        shutil.rmtree(self.tmp, ignore_errors=True)

    @property
    def pids(self):
        """What all processes of the cluster descend from."""
        return [self._head.pid, *(node.pid for node in self._nodes.values())]

    def start_node(self, address):
        """Start the node, and wait until the cluster has it."""
        self._nodes[address] = self._start(address, f"--address={self.client['RAY_ADDRESS']}")

    def _start(self, address, *options, cpus=1):
        command = [
            *(*ray_head.RAY, "start", "--block", "--disable-usage-stats", "--log-color=false"),
            *(f"--node-ip-address={address}", f"--num-cpus={cpus}"),
            *(f"--object-store-memory={100 * 2**20}", "--min-worker-port=0"),
            *("--max-worker-port=0", f"--dashboard-agent-listen-port={background.free_port()}"),
            *options,
        ]
        log = self._folder / f"{address}.log"
        env = {**self._env, "RAY_AUTH_MODE": "disabled"}
        deadline = time.monotonic() + _START_LIMIT_S
        node = background.spawn(command, log=log, env=env, tied=True)
        while "Ray runtime started" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            if not background.is_alive(node):
                # Ray gives a node 30 s, which are too few on a busy machine.
                assert "timed out during startup" in log.read_text(), log.read_text()
                node = background.spawn(command, log=log, env=env, tied=True)
            time.sleep(0.1)
        return node

    def raylet(self, address):
        """Process number of the node's raylet."""
        found = descendants(self._nodes[address].pid).items()
        (pid,) = [pid for pid, (command, _) in found if b"/raylet/raylet\0" in command]
        return pid

    def kill_raylet(self, address):
        """Kill it, and nothing else; what it had started ends by itself."""
        os.kill(self.raylet(address), signal.SIGKILL)
        self._dead = address

    def restart_dead(self):
        """Do what KubeRay does: another node in the place of the one whose raylet was killed."""
        background.end([self._nodes.pop(self._dead)], grace_s=15)
        self.start_node(self._dead)

    @property
    def addresses(self):
        return list(self._nodes)
