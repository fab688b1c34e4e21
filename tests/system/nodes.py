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

_ADDRESSES = ("127.0.0.3", "127.0.0.4")
_START_LIMIT_S = 120


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
        head = self._folder / "head"
        self._env = {
            **os.environ,
            "TMPDIR": str(self.tmp),
            "PYTHONPATH": str(ROOT),
            "GLOO_SOCKET_IFNAME": "lo",
            # Or Ray would kill what the test does not want killed when others fill the memory.
            "RAY_memory_monitor_refresh_ms": "0",
            # Or take a node for dead whose raylet is slow; one that is killed is noticed at once.
            "RAY_health_check_timeout_ms": "120000",
        }
        self.client = ray_head.start(head, num_cpus=0, auth="disabled", env=self._env, tied=True)
        self._head = background.load_processes(head / "processes.json")["head"]
        for address in _ADDRESSES:
            self.start_node(address)
        return self

    def __exit__(self, *_):
        background.end(list(self._nodes.values()), grace_s=15)
        ray_head.stop(self._folder / "head")
        shutil.rmtree(self.tmp, ignore_errors=True)

    @property
    def pids(self):
        """What all processes of the cluster descend from."""
        return [self._head.pid, *(node.pid for node in self._nodes.values())]

    def start_node(self, address):
        """Start the node, and wait until the cluster has it."""
        options = {
            "address": self.client["RAY_ADDRESS"],
            "node-ip-address": address,
            "num-cpus": 1,
            "object-store-memory": 100 * 2**20,
            "dashboard-agent-listen-port": background.free_port(),
            "min-worker-port": 0,
            "max-worker-port": 0,
            "log-color": "false",
        }
        flags = ["--block", "--disable-usage-stats"]
        command = [*ray_head.RAY, "start", *flags, *(f"--{k}={v}" for k, v in options.items())]
        env = {**self._env, **self.client}
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
        log = self._folder / f"{address}.log"
        self._nodes[address] = background.spawn(command, log=log, env=env, tied=True)
        deadline = time.monotonic() + _START_LIMIT_S
        while "Ray runtime started" not in log.read_text():
            assert background.is_alive(self._nodes[address]), log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

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
