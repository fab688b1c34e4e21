"""The hosts of this folder's tests: what is their own, what becomes of their links, their end."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system import hosts

pytestmark = pytest.mark.cluster
COUNT = """
import socket
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(("", 9000))
sink.settimeout(2)
print("ready", flush=True)
count = 0
try:
    while sink.recv(100):
        count += 1
except TimeoutError:
    print(count)
"""
OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.system.hosts import Network
with Network() as network:
    network.host("host-x")
    print(network.bridge, network.folder, flush=True)
    time.sleep(600)
"""


def _run(host, *command):
    done = host.start(command, env=os.environ, out=subprocess.PIPE)
    return done.communicate(timeout=60)[0].decode()


def _arriving(host, number=300):
    """How many of so many datagrams arrive on a host."""
    command = [sys.executable, "-c", COUNT]
    with (
        host.start(command, env=os.environ, out=subprocess.PIPE) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        assert sink.stdout.readline() == b"ready\n"
        for _ in range(number):
            sender.sendto(bytes(10), (host.ip, 9000))
            time.sleep(0.001)
        return int(sink.stdout.read())


def test_hosts_have_their_own_name_address_folder_and_processes(network):
    a, b = network.host("host-a"), network.host("host-b")
    (a.folder / "x").touch()
    assert _run(a, "hostname") == "host-a\n"
    assert _run(a, "ls", str(network.own)) == "x\n"
    assert _run(b, "ls", str(network.own)) == ""
    assert f"inet {b.ip}/24" in _run(b, "ip", "addr")
    endless = a.start(["sleep", "600"], env=os.environ, out=subprocess.DEVNULL)
    assert "sleep\n600" not in _run(b, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'")
    a.power_off()
    assert endless.returncode is not None
    assert _arriving(b) > 290  # the first may come before the link is up
    a.power_on()
    assert _run(a, "ls", str(network.own)) == "x\n"
    assert _arriving(a) > 290  # the first may come before the link is up


def test_links_are_cut_and_mended(network):
    host = network.host("host-c")
    host.cut()
    assert _arriving(host) == 0
    host.mend()
    assert _arriving(host) > 290  # the first may come before the link is up


def test_links_lose_packets_and_are_slow_as_told(network):
    if reason := hosts.missing_for_faults():
        pytest.skip(reason)
    host = network.host("host-d")
    host.lose(share=0.3)
    assert 150 < _arriving(host) < 270
    host.mend()
    host.narrow(mbit=8)
    serve = f"import socket; s = socket.create_server(({host.ip!r}, 9001)); print(flush=True)\n"
    serve += "c = s.accept()[0]\nwhile c.recv(65536): pass\nc.send(b'.')"
    with host.start([sys.executable, "-c", serve], env=os.environ, out=subprocess.PIPE) as sink:
        sink.stdout.readline()
        with socket.create_connection((host.ip, 9001)) as sender:
            began = time.monotonic()
            sender.sendall(bytes(2_000_000))
            sender.shutdown(socket.SHUT_WR)
            assert sender.recv(1) == b"."
            assert time.monotonic() - began > 1.5  # 2 s but for the first burst
    host.mend()
    assert _arriving(host) > 290  # the first may come before the link is up


def test_hosts_end_with_the_process_that_made_them_however_it_ends(network):
    command = [sys.executable, "-c", OWNER, str(Path(__file__).resolve().parents[2])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        bridge, folder = owner.stdout.readline().split()
        cable = Path("/sys/class/net", f"{bridge}-1")
        assert cable.exists()
        owner.kill()
    for _ in range(600):
        if not cable.exists():
            break
        time.sleep(0.1)
    assert not cable.exists()
    subprocess.run(["ip", "link", "del", bridge], check=True)
    subprocess.run(["rm", "-r", folder], check=True)
