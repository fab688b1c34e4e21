"""EC2's notice that a spot machine is taken back reaches Ray; the service is one of our own."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import ray_head
from ray.exceptions import RpcError

PROGRAM = Path(__file__).resolve().parents[2] / "cluster/image/spot_notice.py"
sys.path.insert(0, str(PROGRAM.parent))
import spot_notice  # noqa: E402


class Metadata(http.server.BaseHTTPRequestHandler):
    """Answers as EC2's service does: to those who fetched a token, and 404 while all is well."""

    def do_PUT(self):
        good = self.path == "/latest/api/token"
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self._answer(200 if good and ttl else 400, "a-token")

    def do_GET(self):
        self.server.asked += 1
        if self.headers.get("X-aws-ec2-metadata-token") != "a-token":
            self._answer(401, "")
        elif self.path != "/latest/meta-data/spot/instance-action":
            self._answer(400, "")
        else:
            self._answer(
                *self.server.answers[min(self.server.asked, len(self.server.answers)) - 1]
            )

    def _answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def metadata():
    """`metadata((404, ""), (200, "..."))`: its address; the last answer is given for ever."""
    servers = []

    def serve(*answers):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
        server.answers, server.asked = answers, 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def _notice(at):
    told = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"action": "terminate", "time": told})


def test_the_time_of_the_notice_is_read_with_a_token(metadata):
    assert spot_notice.notice(metadata((200, _notice(2_000_000_000)))) == 2_000_000_000


def test_while_there_is_no_notice_it_is_asked_for_again_without_a_word(metadata, capsys):
    url = metadata((404, ""), (404, ""), (200, _notice(2_000_000_000)))
    assert spot_notice.wait_for_notice(url, every_s=0.01) == 2_000_000_000
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "answer", [(500, ""), (200, "no JSON"), (200, "[]"), (200, "{}"), (200, '{"time": "soon"}')]
)
def test_an_answer_that_is_none_is_told_and_asked_for_again(metadata, answer, capsys):
    url = metadata(answer, (200, _notice(2_000_000_000)))
    assert spot_notice.wait_for_notice(url, every_s=0.01) == 2_000_000_000
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{url}: ")
    assert line.endswith("; asking again")


def test_a_service_that_is_not_there_knows_of_nothing(capsys):
    assert spot_notice.notice("http://127.0.0.1:1") is None
    assert "asking again" in capsys.readouterr().err


class Head:
    """Stands for Ray's client of the head: answers of which each call takes one."""

    def __init__(self, *answers):
        self.answers, self.told = list(answers), []

    def __call__(self, address):
        self.address = address
        return self

    def drain_node(self, node, why, text, until_ms):
        self.told.append((node, until_ms))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def head(monkeypatch):
    """`head(answer, ..., nodes=...)`; the nodes of this machine, one set for each try."""

    def serve(*answers, nodes):
        served = Head(*answers)
        there = iter(nodes)
        monkeypatch.setattr("ray._raylet.GcsClient", served)
        monkeypatch.setattr("ray._private.services.find_node_ids", lambda: next(there))
        return served

    return serve


def test_a_head_that_does_not_answer_or_refuses_is_told_again(head, capsys):
    served = head(
        RpcError("no answer"), (False, "busy"), (True, ""), nodes=[{"n1"}, {"n1"}, set(), {"n1"}]
    )
    until = time.time() + 600
    assert spot_notice.hand_on("h:1", until, every_s=0.01)
    assert served.address == "h:1"
    assert served.told == 3 * [("n1", int(1000 * until))]
    assert capsys.readouterr().err.splitlines() == [
        "h:1: RpcError: no answer",
        "telling the head again",
        "node n1: busy",
        "telling the head again",
        "telling the head again",
        "node n1: drains",
    ]


def test_one_node_of_two_that_is_refused_is_not_forgotten(head):
    served = head((True, ""), (False, "busy"), (True, ""), (True, ""), nodes=2 * [["n1", "n2"]])
    assert spot_notice.hand_on("h:1", time.time() + 600, every_s=0.01)
    assert [node for node, _ in served.told] == ["n1", "n2", "n1", "n2"]


def test_when_the_machine_goes_it_is_told_no_more(head, capsys):
    served = head(RpcError("no answer"), nodes=[{"n1"}])
    assert not spot_notice.hand_on("h:1", time.time() + 1, every_s=5)
    assert len(served.told) == 1
    assert capsys.readouterr().err.endswith("took no notice in time; runs lose this machine\n")


@pytest.mark.parametrize(("taken", "status"), [(True, 0), (False, 1)])
def test_the_programs_status_says_whether_the_head_took_it(metadata, monkeypatch, taken, status):
    url = metadata((200, _notice(2_000_000_000)))
    monkeypatch.setattr(sys, "argv", ["spot_notice.py", "h:1", "--metadata", url])
    monkeypatch.setattr(spot_notice, "hand_on", lambda head, until: taken)
    assert spot_notice.main() == status


BUSY = """
import json, subprocess, sys, ray, ray._private.state as state
ray.init(address="auto", log_to_driver=False)
work = ray.remote(num_cpus=1)(type("Work", (), {"begun": lambda self: True})).remote()
ray.get(work.begun.remote())
told = subprocess.run([sys.executable, *sys.argv[1:]], capture_output=True, text=True, check=True)
assert "drains" in told.stderr, told.stderr
print(json.dumps(list(state.state.get_draining_nodes().values())))
"""
"""Works on the node while it is told: an idle one would end at once."""


@pytest.mark.slow
@pytest.mark.cluster
def test_a_node_at_work_drains_until_the_time_of_the_notice(metadata, tmp_path):
    at = int(time.time()) + 900
    client = ray_head.start(tmp_path / "head", num_cpus=1, tied=True)
    try:
        # Other heads' nodes on this machine are none that this head knows.
        words = [PROGRAM, client["RAY_ADDRESS"], "--metadata", metadata((200, _notice(at)))]
        done = subprocess.run(
            [sys.executable, "-c", BUSY, *map(str, words)],
            env=os.environ | client, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [1000 * at]
    finally:
        ray_head.stop(tmp_path / "head")
