"""Serves the model of a trained run, or of a bundle, over HTTP by Ray Serve."""

import argparse
import logging
import sys

from retdm import console
from retdm.onray.installed import need_ray
from retdm.onray.options import storage_root
from retdm.serving.address import check_free, is_loopback
from retdm.serving.extra import check_installed

log = logging.getLogger(__name__)

EXAMPLES = """examples:
  python jobs/serve.py s3://photos/runs/pets-1
  python jobs/serve.py ./pets-bundle --port 9000 --replicas 2 --max-batch 32
  ray job submit --working-dir . -- python jobs/serve.py s3://photos/runs/pets-1 --host 0.0.0.0

  curl -F images=@a.jpg -F images=@b.jpg "http://127.0.0.1:8000/v1/predict?top=3"
  curl http://127.0.0.1:8000/v1/model

POST /v1/predict takes image files and answers {"predictions": [{"image", "labels", "scores",
"error"}]}; GET /v1/model says which model answers, GET /healthz whether one does; /docs is a page
about all this, which loads nothing from elsewhere, /openapi.json the schema for programs. Errors
are {"error": SENTENCE}.

The service has no authentication and no encryption of its own: whoever reaches its port may use
it. It listens on loopback by default; with another --host, put it behind something that lets in
whom you want, and closes connections whose request does not begin: a client has a minute for the
body of a request, but for its headers as long as it likes. On a cluster every node with a replica
listens at that address and port.

Images of requests that come together go through the network together, up to --max-batch of them;
one that comes alone waits --batch-wait-ms for company. Of scores this can change the last bits.

A replica needs memory for its model and, for each of its --cpus, 15 bytes for each of
--max-image-pixels, of WebP 22: a file of some kilobytes can have as many pixels. An image with
more has an error in its place in the answer; a file of more than --max-image-bytes, or a request
of more than --max-images, is refused whole with status 413.

Ctrl-C and SIGTERM (`ray job stop`) end it when requests under way are answered, which takes some
seconds. Ray kills a stopped job after RAY_JOB_STOP_WAIT_TIME_S (3) seconds, a variable of the
head: set 30 there, or `serve shutdown --yes` has to end what is left on the cluster.

exit status: 2 bad settings or model, 1 the service did not start, 143 stopped by SIGTERM, 130 by
Ctrl-C; the last line on stderr is the error, or that it was stopped"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="jobs/serve.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    console.add_model(out)
    count = console.count
    for option, standard, kind, meaning in (
        ("--host", "127.0.0.1", str, "address to listen at"),
        ("--port", 8000, _port, "port to listen at"),
        ("--replicas", 1, count, "processes with the model, each with a GPU if all can have one"),
        ("--cpus", 1, count, "cores of a replica, which decodes so many images at once"),
        ("--max-batch", 16, count, "images that go through the network together"),
        ("--batch-wait-ms", 5.0, _milliseconds, "for which a batch that is not full waits"),
        ("--max-image-bytes", 10 << 20, count, "size of an image file"),
        ("--max-image-pixels", 40_000_000, count, "pixels of an image"),
        ("--max-images", 16, count, "images of a request"),
    ):
        name = "ADDRESS" if kind is str else "N"
        out.add_argument(
            option, default=standard, type=kind, metavar=name, help=f"{meaning} (%(default)s)"
        )
    return out


def main() -> int:
    """Check everything that needs no cluster, then serve."""
    args = parser().parse_args()
    need_ray()
    check_installed()
    check_free(args.host, args.port)
    if not is_loopback(args.host):
        log.warning(
            "warning: --host %s: the service has no authentication; whoever reaches port %d may "
            "use it",
            args.host,
            args.port,
        )
    # Torch and Ray take seconds to import, which a wrong setting need not wait for.
    from retdm.onray.serving import Service, run_service

    run_service(Service(**{**vars(args), "model": storage_root(args.model)}))
    return 0


def _port(text: str) -> int:
    number = console.count(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give one from 1 to 65535")
    return number


def _milliseconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of milliseconds up to 10000")
    return number


if __name__ == "__main__":
    sys.exit(console.run(main))
