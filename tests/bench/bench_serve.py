"""How fast `jobs/serve.py` answers beside what the model itself allows.

    python tests/bench/bench_serve.py [FOLDER ...] [--nets BACKBONE@SIZE ...] [--clients N ...]

Makes a bundle of each network with random weights and 80 labels, and serves it on loopback twice:
with batches of up to 16 images, and with none. Clients, each a thread with a connection of its
own, send photos of FOLDER one at a time, the next when the last is answered. Their limit is
`Predictor.scores` on the same photos in a process of its own that has as many cores as the
replica, before and after each service. Clients, HTTP server and replica share this machine.
"""

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from bench_predict import add_nets, make_model
from machine import one_line
from photos import add_arguments, folders, gather

from retdm.export.bundle import write_bundle
from retdm.export.measured import Measured
from retdm.predictor import Predictor, load
from retdm.storage import open_store

_ROOT = Path(__file__).resolve().parents[2]
_BATCH = 16
_BOUNDARY = "bench"


def main() -> int:
    """Make bundles, serve, send, print."""
    parser = argparse.ArgumentParser(description="Time the service beside the model.")
    add_arguments(parser)
    add_nets(parser)
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement")
    parser.add_argument("--limit", metavar="BUNDLE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end the service
    with tempfile.TemporaryDirectory() as scratch:
        if args.limit:
            print(_limit(load(args.limit, device="cpu"), args.folders[0], args.seconds))
            return 0
        print(one_line(), flush=True)
        for name, photos in folders(args.folders, Path(scratch)).items():
            print(f"\n{name}: {gather(photos, Path(scratch, name), 64)}")
            for number, net in enumerate(args.nets):
                bundle = Path(scratch, f"{name}-{number}")
                bundle.mkdir()
                write_bundle(open_store(str(bundle)), make_model(net), Measured({}, "bench", {}))
                _compare(net, bundle, Path(scratch, name, "photos"), args.clients, args.seconds)
    return 0


def _limit(model: Predictor, photos: Path, seconds: float) -> float:
    """Images a second, of bytes in memory."""
    contents = [path.read_bytes() for path in sorted(photos.iterdir())]
    model.scores(contents, batch_size=_BATCH)
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        model.scores(contents, batch_size=_BATCH)
        done += len(contents)
    return done / (time.perf_counter() - begun)


def _compare(net: str, bundle: Path, photos: Path, clients: list[int], seconds: float) -> None:
    bodies = [_form(path) for path in sorted(photos.iterdir())]
    own = [sys.executable, __file__, str(photos), "--limit", str(bundle), "--seconds"]
    limits = [float(subprocess.check_output([*own, str(seconds)], env=_one_core()))]
    for batch in (_BATCH, 1):
        with _service(bundle, batch) as port:
            _send(port, bodies, 1, seconds / 4)
            taken = {count: _send(port, bodies, count, seconds) for count in clients}
        limits.append(float(subprocess.check_output([*own, str(seconds)], env=_one_core())))
        alone = limits[-2:]
        print(f"  {net}, batches of {batch}; the model alone {alone[0]:.1f}, {alone[1]:.1f}/s")
        for count, times in taken.items():
            rate = len(times) / seconds
            late = quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
            print(
                f"    {count:3} clients: {rate:7.1f}/s, {rate / median(alone):.2f} of the model; "
                f"latency p50 {1000 * median(times):.0f} ms, p95 {1000 * late:.0f} ms",
                flush=True,
            )


def _form(path: Path) -> bytes:
    head = f'Content-Disposition: form-data; name="images"; filename="{path.name}"'
    begin = f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode()
    return begin + path.read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _send(port: int, bodies: list[bytes], clients: int, seconds: float) -> list[float]:
    """The seconds that each answer took which came in time."""
    taken: list[float] = []
    until = time.perf_counter() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        while (begun := time.perf_counter()) < until:
            number += clients
            connection.request("POST", "/v1/predict", bodies[number % len(bodies)], headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200 or b'"error":null' not in content:
                raise RuntimeError(f"{answer.status}: {content[:200]!r}")
            if (ended := time.perf_counter()) < until:
                taken.append(ended - begun)
        connection.close()

    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(client, range(clients)))  # raises what a client did
    return taken


@contextmanager
def _service(bundle: Path, batch: int) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(_ROOT / "jobs/serve.py"), str(bundle), "--port", str(port)]
    command += ["--max-batch", str(batch)]
    with tempfile.TemporaryFile("w+") as log:
        env = {**os.environ, "PYTHONPATH": str(_ROOT), "RAY_ADDRESS": "local"}
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            while not _listens(log.fileno()):
                if process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(log.read())
                time.sleep(0.1)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


def _listens(log: int) -> bool:
    return b"Ctrl-C ends it" in os.pread(log, 1 << 20, 0)


def _one_core() -> dict[str, str]:
    """As Ray gives a replica's computation one thread."""
    env = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(_ROOT)}
    return {**os.environ, **env}


if __name__ == "__main__":
    sys.exit(main())
