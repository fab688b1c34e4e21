"""What a cluster has around it, here: S3 server, Ray head, Prometheus, Grafana; on loopback.

    python cluster/local/services.py start --dir .local --bucket photos
    eval "$(python cluster/local/services.py env --dir .local)"
    ray job submit --working-dir . -- python jobs/train.py jobs/recipes/scene.toml ...
    python cluster/local/services.py stop --dir .local

Jobs on the head reach the S3 server. Without a program `prometheus` or `grafana` in PATH the rest
is started, and that is said. `stop` ends what `start` began in this folder, and nothing else. The
programs of one service each are `s3_server.py`, `ray_head.py`, `prometheus.py` and `grafana.py`,
for these folders too.
"""

import os
import shutil
import sys
from pathlib import Path

import background
import grafana
import one_program
import prometheus
import ray_head
import s3_server
from background import LocalServiceError
from service_commands import print_exports, service_parser

from retdm import console


def start(root: Path, *, bucket: str, num_cpus: int) -> list[str]:
    """Start all in folders below `root`; if one does not come up, none that was started stays.

    An S3 server that runs there already is used.

    Args:
        root: Folder of these services alone; created if missing.
        bucket: Created on the S3 server unless it exists.
        num_cpus: Logical CPUs of the head.

    Returns:
        Lines that say where each is.

    Raises:
        LocalServiceError: If a Ray head runs there already, perhaps with jobs, or one does not
            come up; its log is quoted.
    """
    root = root.resolve()
    head = background.load_processes(root / "ray/processes.json")
    if any(map(background.is_alive, head.values())):
        raise LocalServiceError(
            f"{root}: a Ray head runs here already, perhaps with jobs; end all with "
            f"`services.py stop --dir {root}` first"
        )
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    keep_s3 = s3_server.is_running(root / "s3")
    try:
        settings = s3_server.start(root / "s3", bucket=bucket)
        # Settings of the caller's own cloud, a session token say, would spoil the signatures.
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        client = ray_head.start(root / "ray", num_cpus=num_cpus, env=env | settings)
        lines = [
            f"S3 server at {settings['AWS_ENDPOINT_URL']}, bucket {bucket}",
            f"Ray head at {client['RAY_ADDRESS']}",
            f"Ray's dashboard at {client['RAY_API_SERVER_ADDRESS']}; "
            f"its token is in {client['RAY_AUTH_TOKEN_PATH']}",
        ]
        if shutil.which("prometheus") is None:
            return [*lines, "no Prometheus, so no Grafana; on Debian: sudo apt install prometheus"]
        watching = prometheus.start(root / "prometheus", ray=root / "ray")
        lines.append(f"Prometheus at {watching}")
        if grafana.find() is None:
            return [*lines, "no Grafana; see https://grafana.com/grafana/download"]
        return [*lines, f"Grafana at {grafana.start(root / 'grafana', prometheus=watching)}"]
    except BaseException:
        for watching in ("grafana", "prometheus"):
            one_program.stop(root / watching)
        ray_head.stop(root / "ray")
        if not keep_s3:
            s3_server.stop(root / "s3")
        raise


def stop(root: Path) -> None:
    """End what `start` began in this folder; no error if nothing runs."""
    for watching in ("grafana", "prometheus"):
        one_program.stop(root / watching)
    ray_head.stop(root / "ray")
    s3_server.stop(root / "s3")


def main() -> int:
    """Read the command line and do what it says."""
    parser, starting = service_parser(
        __doc__,
        "the services",
        {
            "start": "start all; print their addresses",
            "stop": "end them with all jobs; keep objects, metrics and logs",
            "env": "print `export` lines for a shell",
        },
    )
    starting.add_argument("--bucket", required=True, help="created if missing")
    starting.add_argument(
        "--num-cpus", type=int, default=os.cpu_count() or 1, help="logical CPUs of the head"
    )
    arguments = parser.parse_args()
    if arguments.command == "stop":
        stop(arguments.dir)
    elif arguments.command == "env":
        print_exports(s3_server.environment(arguments.dir / "s3"))
        print_exports(ray_head.environment(arguments.dir / "ray"))
    else:
        print(
            "\n".join(start(arguments.dir, bucket=arguments.bucket, num_cpus=arguments.num_cpus))
        )
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
