"""Prometheus on this machine, watching the Ray head that `ray_head.py` started there, on loopback.

    python cluster/local/ray_head.py start --dir .ray
    python cluster/local/prometheus.py start --dir .prometheus --ray .ray
    python cluster/local/prometheus.py stop --dir .prometheus

It scrapes and warns by the files of cluster/monitoring, and keeps what it saw in its folder. The
program is Debian's (`apt install prometheus`), or any other in PATH. Whoever has an account on
this machine can read what it serves: numbers, and the URLs of runs.
"""

import os
import shutil
import sys
from pathlib import Path

import background
import one_program
from background import LocalServiceError
from service_commands import service_parser

from retdm import console

MONITORING = Path(__file__).resolve().parents[1] / "monitoring"
DISCOVERY = "/tmp/ray/prom_metrics_service_discovery.json"
"""Where the configuration looks for the file of a head with Ray's own folder."""
_PORT = 9090


def start(root: Path, *, ray: Path, scrape_s: int | None = None, tied: bool = False) -> str:
    """Start it in folder `root`; one that runs there already is ended first.

    Args:
        root: Folder of this server alone; created if missing.
        ray: Folder in which `ray_head.py` has started a head.
        scrape_s: Seconds between looks, by default those of cluster/monitoring.
        tied: Whether it ends with the calling process, however that ends.

    Returns:
        Its URL.

    Raises:
        LocalServiceError: If there is no such program or head, or it does not come up.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise LocalServiceError(
            "there is no program `prometheus` in PATH; on Debian: sudo apt install prometheus"
        )
    try:
        session = Path((ray / "session").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LocalServiceError(
            f"{ray}: no Ray head runs here; run `ray_head.py start --dir {ray}` first"
        ) from None
    root = root.resolve()
    one_program.stop(root)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = (MONITORING / "prometheus.yml").read_text(encoding="utf-8")
    text = text.replace(DISCOVERY, str(session / "r" / Path(DISCOVERY).name))
    if scrape_s is not None:
        text = text.replace("scrape_interval: 10s", f"scrape_interval: {scrape_s}s")
    background.write_private(root / "prometheus.yml", text)
    shutil.copy(MONITORING / "alerts.yml", root)
    port = background.free_port(_PORT)
    command = [
        program,
        f"--config.file={root / 'prometheus.yml'}",
        f"--storage.tsdb.path={root / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    return one_program.start(
        "Prometheus", command, root=root, port=port, env=os.environ, tied=tied
    )


def main() -> int:
    """Read the command line and do what it says."""
    parser, starting = service_parser(
        __doc__, "this server", {"start": "start it; print its address", "stop": "end it"}
    )
    starting.add_argument("--ray", type=Path, required=True, help="folder of the Ray head")
    arguments = parser.parse_args()
    if arguments.command == "stop":
        one_program.stop(arguments.dir)
    else:
        print(f"Prometheus at {start(arguments.dir, ray=arguments.ray)}")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
