"""Hosts in network namespaces on this machine, whose cables can be cut, narrowed and made lossy.

A host has processes, a network device, a host name and a folder of its own, as a container has.
All hosts hang on one bridge, on which this process has an address too. A host ends with all its
processes when it is powered off, and when this process ends, however that ends; only the bridge
is then left. Needs root on Linux.
"""

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

DEVICE = "eth0"
"""Each host's network device, for GLOO_SOCKET_IFNAME."""
_SPACES = ("--net", "--uts", "--mount", "--pid")
# `unshare` heeds no other signal than KILL; the first process inside gets it from there.
_UNSHARE = ("setpriv", "--pdeathsig=KILL", "unshare", *_SPACES, "--fork", "--kill-child",
            "--mount-proc")  # fmt: skip
# Waits, so that orphans of the host leave no zombies behind.
_INIT = 'hostname "$0" && mount --bind "$1" "$2" && { sleep infinity & wait; }'
# For the kernel's packet filter: load a random word; if it is larger than that drop, else accept.
_LOSS = "4,32 0 0 4294963256,37 0 1 {},6 0 0 2,6 0 0 0"

_numbers = itertools.count()


class Host:
    """One host of a `Network`, which makes it; off until `power_on`."""

    def __init__(self, network: "Network", number: int, name: str) -> None:
        self.name, self.ip = name, f"{network.prefix}.{number + 1}"
        self.folder = network.folder / name
        """What its processes find at `network.own`; outlives them."""
        self.folder.mkdir()
        self._network, self._cable = network, f"{network.bridge}-{number}"
        self._outside: subprocess.Popen[bytes] | None = None
        self._programs: list[subprocess.Popen[bytes]] = []
        self._inside = 0

    def power_on(self) -> None:
        """Be there, without any program, on a sound cable."""
        init = ("sh", "-c", _INIT, self.name, str(self.folder), str(self._network.own))
        self._outside = subprocess.Popen(
            [*_UNSHARE, *init], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self._inside = _child(self._outside)
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", DEVICE,
             "netns", str(self._inside))  # fmt: skip
        _run("ip", "link", "set", self._cable, "master", self._network.bridge, "up")
        _run(*self._enter("--net"), "ip", "addr", "add", f"{self.ip}/24", "dev", DEVICE)
        for device in ("lo", DEVICE):
            _run(*self._enter("--net"), "ip", "link", "set", device, "up")

    def power_off(self) -> None:
        """End all its processes at once. Nobody is told: the cable goes first."""
        if self._outside is None:
            return
        with contextlib.suppress(subprocess.CalledProcessError):  # `power_on` failed early
            _run("ip", "link", "del", self._cable)
        self._outside.kill()  # takes the process inside along, and that all the others
        self._outside.wait(60)
        while self._inside and Path(f"/proc/{self._inside}").exists():
            time.sleep(0.02)
        for program in self._programs:
            program.wait(60)
        self._programs.clear()
        self._outside, self._inside = None, 0

    def start(
        self, command: Sequence[str], *, env: Mapping[str, str], out: IO[bytes] | int
    ) -> "subprocess.Popen[bytes]":
        """Start a program on this host, in this process's folder; both outputs go to `out`."""
        program = subprocess.Popen(
            [*self._enter(*_SPACES), f"--wd={Path.cwd()}", *command],
            env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._programs.append(program)
        return program

    def cut(self) -> None:
        """Pull the cable: packets are lost, and nobody is told."""
        _run("ip", "link", "set", self._cable, "down")

    def mend(self) -> None:
        """Have a sound cable again, whatever was done to it."""
        _run("ip", "link", "set", self._cable, "up")
        for queue in ("root", "clsact"):
            for enter, device in self._ends():
                with contextlib.suppress(subprocess.CalledProcessError):  # there is none
                    _run(*enter, "tc", "qdisc", "del", "dev", device, queue)

    def narrow(self, *, mbit: float) -> None:
        """Let that many bits through in a second, either way, with a queue of 0.4 s."""
        burst = max(int(mbit * 1250), 16_000)
        for enter, device in self._ends():
            _run(*enter, "tc", "qdisc", "add", "dev", device, "root", "tbf",
                 "rate", f"{mbit}mbit", "burst", str(burst), "latency", "400ms")  # fmt: skip

    def lose(self, *, share: float) -> None:
        """Lose that share of all packets at random, either way."""
        code = _LOSS.format(int((1 - share) * 0xFFFFFFFF))
        _run("tc", "qdisc", "add", "dev", self._cable, "clsact")
        for way in ("ingress", "egress"):
            _run("tc", "filter", "add", "dev", self._cable, way, "bpf", "da", "bytecode", code)

    def _ends(self) -> list[tuple[Sequence[str], str]]:
        """How to reach the cable's two ends, and what they are called there."""
        return [((), self._cable), (self._enter("--net"), DEVICE)]

    def _enter(self, *spaces: str) -> Sequence[str]:
        return ("nsenter", f"--target={self._inside}", *spaces)


class Network:
    """A bridge with hosts; use it in a `with` block, at whose end nothing is left of them."""

    def __init__(self) -> None:
        # Ray's sockets lie below it, and their paths may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="retdm-hosts-", dir="/tmp"))
        self.own = self.folder / "own"
        """A folder that is another one on each host."""
        self.own.mkdir()
        self.bridge = f"rt{os.getpid()}x{next(_numbers)}"  # cables' names add "-N"; 15 letters
        self.prefix = _free_prefix()
        self.ip = f"{self.prefix}.1"
        """Address of this process, and of servers that it starts."""
        self.hosts: list[Host] = []

    def __enter__(self) -> Self:
        try:
            _run("ip", "link", "add", self.bridge, "type", "bridge")
            _run("ip", "addr", "add", f"{self.ip}/24", "dev", self.bridge)
            _run("ip", "link", "set", self.bridge, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.power_off()
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
        shutil.rmtree(self.folder)

    def host(self, name: str) -> Host:
        """A new host, powered on."""
        host = Host(self, len(self.hosts) + 1, name)
        self.hosts.append(host)
        host.power_on()
        return host


@functools.cache
def missing() -> str:
    """Why hosts cannot be had on this machine; empty if they can."""
    if os.geteuid() != 0:
        return "hosts in network namespaces need root"
    for program in ("ip", "tc", "setpriv", "unshare", "nsenter"):
        if shutil.which(program) is None:
            return f"hosts in network namespaces need the program `{program}`"
    try:
        with Network() as network:
            network.host("probe")
    except subprocess.CalledProcessError as error:
        return f"this machine forbids network namespaces: {error.stderr.strip()}"
    return ""


@functools.cache
def missing_for_faults() -> str:
    """Why links cannot be made slow or lossy on this machine; empty if they can."""
    with Network() as network:
        host = network.host("probe")
        try:
            host.narrow(mbit=10)
            host.lose(share=0.1)
        except subprocess.CalledProcessError as error:
            return f"this kernel has no tbf queue or no bpf filter: {error.stderr.strip()}"
    return ""


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _child(outside: "subprocess.Popen[bytes]") -> int:
    """The first process of a host, once it is in namespaces of its own."""
    children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
    for _ in range(1500):
        pids = children.read_text().split() if children.exists() else []
        # Before that it is a copy of `unshare`, whose mounts are still ours.
        if pids and Path(f"/proc/{pids[0]}/comm").read_text() == "sh\n":
            return int(pids[0])
        if outside.poll() is not None:
            break
        time.sleep(0.02)
    raise subprocess.CalledProcessError(outside.poll() or 1, _UNSHARE, stderr="unshare failed")


def _free_prefix() -> str:
    """Three quarters of an address, of a range kept for tests of networks (RFC 2544)."""
    taken = subprocess.run(
        ["ip", "-o", "-4", "addr"], check=True, capture_output=True, text=True
    ).stdout
    prefixes = (f"198.18.{(os.getpid() + step) % 256}" for step in range(256))
    return next(prefix for prefix in prefixes if f" {prefix}." not in taken)
