"""jobs/serve.py: a service in processes of its own, and what it refuses to start with."""

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import schemathesis
from hypothesis import strategies
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

import retdm
from retdm.errors import CheckpointError, ConfigError
from retdm.serving.limits import Limits
from tests.trained import trained

__all__ = ["trained"]
ROOT = Path(__file__).resolve().parents[2]
IMAGES, IMAGE_BYTES, IMAGE_PIXELS = 8, 20_000, 100_000
MOST = Limits(IMAGES, IMAGE_BYTES, IMAGE_PIXELS, requests=1).body_bytes
BOUNDARY = "a-boundary"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


class Running:
    """The program, and requests to it."""

    def __init__(self, process, port, log, folder):
        self.process, self.port, self.log, self.folder = process, port, log, folder
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method, path, body=None, kind=None, **more):
        """Status and JSON of one request, on a connection of its own; `more`: headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            headers = {"Content-Type": kind, **more} if kind else more
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def predict(self, *photos, query=""):
        """The rows of photos, given by their paths."""
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        status, found = self.ask("POST", f"/v1/predict{query}", form(photos), kind)
        assert status == 200, found
        return found["predictions"]


def form(photos):
    """A multipart body of image files."""
    parts = []
    for path in photos:
        head = f'Content-Disposition: form-data; name="images"; filename="{path.name}"'
        parts += [f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode(), path.read_bytes(), b"\r\n"]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def free_port():
    """A port of loopback that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def run(trained):
    return trained.run("bce")


@pytest.fixture(scope="module")
def model(run):
    return retdm.load(run)


@pytest.fixture(scope="module")
def photos(trained, tmp_path_factory):
    return trained.photos(tmp_path_factory.mktemp("photos"))


class Services:
    """A service for all tests, and another one when a test has ended it."""

    def __init__(self, run, folder, stack):
        self._run, self._folder, self._stack = run, folder, stack
        self._last = None

    def running(self):
        if self._last is None or self._last.process.poll() is not None:
            self._last = self._stack.enter_context(_served(self._run, self._folder / "log"))
        return self._last


@contextmanager
def _served(run, log):
    """The program serving a run with small limits, by a Ray of its own."""
    words = [run, "--max-images", str(IMAGES), "--max-image-bytes", str(IMAGE_BYTES)]
    words += ["--max-image-pixels", str(IMAGE_PIXELS), "--max-batch", "4"]
    with tempfile.TemporaryDirectory(prefix="r") as short:
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "RAY_ADDRESS": "local",
            "RAY_TMPDIR": short,  # sockets have short paths
            "RAY_memory_monitor_refresh_ms": "0",
        }
        port = free_port()
        process = _start([*words, "--port", str(port)], log, env)
        try:
            while "Ctrl-C ends it" not in log.read_text():
                if process.poll() is not None:
                    # A neighbour was faster to take the port.
                    assert "cannot listen there" in log.read_text(), log.read_text()
                    port = free_port()
                    process = _start([*words, "--port", str(port)], log, env)
                time.sleep(0.1)
            yield Running(process, port, log, short)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(timeout=120)


def _start(words, log, env):
    with log.open("w") as out:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "jobs/serve.py"), *words],
            cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def services(run, tmp_path_factory):
    with ExitStack() as stack:
        yield Services(run, tmp_path_factory.mktemp("service"), stack)


@pytest.fixture
def service(services):
    """The program, which a test may end."""
    return services.running()


@pytest.mark.cluster
@pytest.mark.slow
def test_a_photo_that_comes_alone_has_the_scores_of_the_model_to_the_bit(service, model, photos):
    wanted = model.scores(photos, batch_size=1)
    rows = [row for photo in photos for row in service.predict(photo)]
    assert [row["image"] for row in rows] == [photo.name for photo in photos]
    found = [[row["scores"][label] for label in model.labels] for row in rows]
    np.testing.assert_array_equal(np.array(found, dtype=np.float32), wanted)
    assert [row["labels"] for row in rows] == model.predict(photos, batch_size=1)


@pytest.mark.cluster
@pytest.mark.slow
def test_photos_of_many_requests_share_batches_and_each_gets_its_own_scores(
    service, model, photos
):
    wanted = model.scores(photos)
    numbers = list(range(len(photos))) * 6
    requests = [numbers[begin : begin + 3] for begin in range(0, len(numbers), 3)]
    with ThreadPoolExecutor(8) as clients:
        answers = clients.map(lambda rows: service.predict(*(photos[r] for r in rows)), requests)
        for rows, answer in zip(requests, answers, strict=True):
            found = [[one["scores"][label] for label in model.labels] for one in answer]
            # Sums of a batch are made in an order that its size has a say in.
            np.testing.assert_allclose(found, wanted[rows], rtol=0, atol=1e-6)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "method", "kinds"),
    [
        ("/v1/predict", "POST", list(GenerationMode)),
        ("/v1/model", "GET", [GenerationMode.POSITIVE]),  # without parameters none is wrong
        ("/healthz", "GET", [GenerationMode.POSITIVE]),
    ],
)
def test_answers_are_what_the_schema_promises_whatever_is_asked(
    service, photos, path, method, kinds
):
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    assert {one.ok().path for one in schema.get_all_operations()} == {
        *("/v1/predict", "/v1/model", "/healthz")
    }
    contents = [photo.read_bytes() for photo in photos[:3]]
    statuses = set()

    for kind in kinds:

        @hypothesis.settings(max_examples=30, suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(
            case=schema[path][method].as_strategy(generation_mode=kind),
            real=strategies.lists(strategies.sampled_from(contents), max_size=3),
        )
        def ask(case, real):
            if real and isinstance(case.body, dict):
                case.body["images"] = real
                checks = CHECKS  # no longer known to be wrong
            else:
                checks = [*CHECKS, negative_data_rejection]
            statuses.add(case.call_and_validate(checks=checks).status_code)

        ask()
    assert 200 in statuses
    assert path != "/v1/predict" or 422 in statuses


@pytest.mark.cluster
@pytest.mark.slow
def test_a_request_that_is_too_large_is_refused_while_it_comes(service):
    for path, body in (
        ("/v1/predict", bytes(MOST + 1)),  # announced
        ("/v1/predict", iter([bytes(50_000)] * 5)),  # not announced
        ("/-/x", iter([bytes(50_000)] * 5)),  # as the paths of Serve's own begin
    ):
        status, found = service.ask("POST", path, body)
        assert status == 413
        assert found["error"].startswith(f"the request is larger than {MOST} bytes (8 images of")
    assert service.ask("GET", "/healthz") == (200, {"status": "ok"})


@pytest.mark.cluster
@pytest.mark.slow
def test_headers_give_serve_no_orders(service):
    orders = ("x-request-timeout-seconds", "x-request-disconnect-disabled", "x-request-id")
    for name in (*orders, "serve-multiplexed-model-id"):
        answer = service.ask("GET", "/healthz", **{name: "\xff"})
        assert answer == (200, {"status": "ok"})


@pytest.mark.cluster
@pytest.mark.slow
def test_an_image_of_too_many_pixels_has_an_error_beside_the_answers_to_others(
    service, photos, tmp_path
):
    large = tmp_path / "large.png"
    Image.new("RGB", (IMAGE_PIXELS // 100 + 1, 100)).save(large)
    first, second = service.predict(large, photos[0])
    assert first["error"].startswith("cannot be decoded (1001x100 pixels, which could be")
    assert second["error"] is None


@pytest.mark.cluster
@pytest.mark.slow
def test_the_service_says_which_model_it_has(service, model):
    status, about = service.ask("GET", "/v1/model")
    assert (status, about["digest"]) == (200, model.digest)
    assert (about["max_images"], about["max_image_bytes"]) == (IMAGES, IMAGE_BYTES)
    assert service.ask("GET", "/nothing") == (404, {"error": "Not Found"})


@pytest.mark.cluster
@pytest.mark.slow
def test_a_second_program_at_its_port_is_refused(service, command):
    with pytest.raises(ConfigError, match=r"cannot listen there \(Address already in use\)"):
        command("x", "--port", str(service.port))


@pytest.mark.cluster
@pytest.mark.slow
def test_ctrl_c_ends_it_with_all_its_processes(service):
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(timeout=120) == 130
    last = service.log.read_text().splitlines()
    assert last[-1] == "stopped by SIGINT"
    assert "Traceback" not in service.log.read_text()
    left = subprocess.run(["pgrep", "-f", service.folder], capture_output=True, text=True)
    assert left.stdout == ""


@pytest.fixture
def loaded():
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("jobs_serve", ROOT / "jobs/serve.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def command(loaded, monkeypatch):
    """`command(*words)`: the program in this process, where Ray must not start."""

    def forbidden(*_, **__):
        raise AssertionError("Ray was started")

    def call(*words):
        monkeypatch.setattr("ray.init", forbidden)
        monkeypatch.setattr(sys, "argv", ["jobs/serve.py", *words])
        return loaded.main()

    return call


def test_the_page_about_trust_says_where_it_listens_by_default(loaded):
    standard = loaded.parser().parse_args(["run"])
    page = (ROOT / "cluster/SECURITY.md").read_text()
    where = f"{standard.port} | {standard.host}, or `--host` "
    assert f"| `jobs/serve.py`: the service | {where}" in page
    assert f"the service: {standard.max_image_pixels // 10**6} million)" in page


def test_a_model_that_is_not_there_ends_the_program_before_anything_starts(command, tmp_path):
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        command(str(tmp_path), "--port", str(free_port()))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "70000"], "'70000' is not a port; give one from 1 to 65535"),
        (["--max-batch", "0"], "'0' is not a whole number from 1 on"),
        (["--batch-wait-ms", "-1"], "'-1' is no number of milliseconds up to 10000"),
        (["--batch-wait-ms", "nan"], "'nan' is no number of milliseconds up to 10000"),
    ],
)
def test_wrong_options_are_refused(command, capsys, words, said):
    with pytest.raises(SystemExit, match="2"):
        command("run", *words)
    assert said in capsys.readouterr().err
