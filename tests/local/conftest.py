"""What the tests of the local programs share."""

import http.server
import ipaddress
import itertools
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import background
import pytest

LOCAL = Path(__file__).resolve().parents[2] / "cluster/local"


@pytest.fixture
def program(tmp_path):
    """`program("s3_server.py", "start", ...)`: run one of the programs, as a shell would."""

    def run(name, *arguments, env=None):
        return subprocess.run(
            [sys.executable, str(LOCAL / name), *map(str, arguments)],
            env=os.environ | (env or {}),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


@pytest.fixture
def addresses():
    """`addresses(leaders)`: where these programs and all below them listen, as the kernel says."""

    def listening(leaders):
        inodes = set().union(*(background._sockets(one.pid) for one in background.family(leaders)))
        found = set()
        for table, form in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == background._LISTEN and fields[9] in inodes:
                    # Four bytes at a time, each group in the processor's own order.
                    words = bytes.fromhex(fields[1].partition(":")[0])
                    groups = [words[at : at + 4][::-1] for at in range(0, len(words), 4)]
                    address = ipaddress.ip_address(socket.inet_ntop(form, b"".join(groups)))
                    found.add(str(getattr(address, "ipv4_mapped", None) or address))
        return found

    return listening


class Impostor:
    """An HTTP server that says yes to everything, on a port that a program chose for itself."""

    def __init__(self):
        impostor = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                impostor.requests.append(self.path)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def take(self, monkeypatch, preferred, times):
        """The first `times` searches for `preferred` find our port free, as if just before us."""
        real = background.free_port
        left = itertools.count(times, -1)

        def free_port(wanted=0, *, avoid=()):
            if wanted == preferred and next(left) > 0:
                return self.port
            return real(wanted, avoid=avoid)

        monkeypatch.setattr(background, "free_port", free_port)


@pytest.fixture
def impostor():
    """A stranger that answers where one of our servers wanted to."""
    stranger = Impostor()
    yield stranger
    stranger.server.shutdown()
    stranger.server.server_close()
    stranger.thread.join()


@pytest.fixture
def marked():
    """An environment entry, and a function that lists the processes that carry it."""
    entry = {"RETDM_TEST_MARK": os.urandom(8).hex()}
    wanted = f"RETDM_TEST_MARK={entry['RETDM_TEST_MARK']}".encode()

    def alive():
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # it ended meanwhile, or is not ours
                continue
        return found

    return entry, alive
