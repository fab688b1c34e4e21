"""Grafana on this machine with the dashboard of cluster/monitoring, on loopback.

    python cluster/local/grafana.py start --dir .grafana --prometheus http://127.0.0.1:9090
    python cluster/local/grafana.py stop --dir .grafana

The program is any `grafana` in PATH, of version 10 or later (https://grafana.com/grafana/download);
Debian has none. Whoever has an account on this machine can look at its dashboards; nobody can
change them.
"""

import os
import secrets
import shutil
import sys
from pathlib import Path

import background
import one_program
from background import LocalServiceError
from service_commands import service_parser

from retdm import console

PROVISIONED = Path(__file__).resolve().parents[1] / "monitoring/grafana"
_PORT = 3000
_PACKAGED = Path("/usr/share/grafana")
"""Where its packages put what it needs."""


def find() -> tuple[str, Path] | None:
    """The program and the folder of its own files; None if they are not on this machine."""
    program = shutil.which("grafana")
    if program is None:
        return None
    for home in (Path(program).resolve().parents[1], _PACKAGED):
        if (home / "conf/defaults.ini").is_file():
            return program, home
    return None


def start(root: Path, *, prometheus: str, tied: bool = False) -> str:
    """Start it in folder `root`; one that runs there already is ended first.

    Args:
        root: Folder of this server alone; created if missing.
        prometheus: URL of the server whose metrics it shows.
        tied: Whether it ends with the calling process, however that ends.

    Returns:
        URL of the dashboard.

    Raises:
        LocalServiceError: If there is no such program, or it does not come up.
    """
    found = find()
    if found is None:
        raise LocalServiceError(
            "there is no program `grafana` in PATH with its files beside it or in "
            f"{_PACKAGED}; get it from https://grafana.com/grafana/download"
        )
    program, home = found
    root = root.resolve()
    one_program.stop(root)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _provision(root, prometheus)
    port = background.free_port(_PORT)
    url = one_program.start(
        "Grafana",
        [program, "server", "--homepath", str(home)],
        root=root,
        port=port,
        env=os.environ | _settings(root, port),
        tied=tied,
    )
    return f"{url}/d/retdm"


def _provision(root: Path, prometheus: str) -> None:
    """Write what it reads at its start: data source and dashboard."""
    for kind, name in (("datasources", "datasource.yml"), ("dashboards", "dashboards.yml")):
        folder = root / "provisioning" / kind
        folder.mkdir(parents=True, exist_ok=True)
        text = (PROVISIONED / name).read_text(encoding="utf-8")
        text = text.replace("http://127.0.0.1:9090", prometheus)
        text = text.replace("/etc/grafana/retdm", str(root / "shown"))
        (folder / name).write_text(text, encoding="utf-8")
    (root / "shown").mkdir(exist_ok=True)
    shutil.copy(PROVISIONED / "retdm.json", root / "shown")


def _settings(root: Path, port: int) -> dict[str, str]:
    """Variables that stand for settings of its file, as GF_SECTION_KEY."""
    return {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_PATHS_DATA": str(root / "data"),
        "GF_PATHS_LOGS": str(root / "logs"),
        "GF_PATHS_PLUGINS": str(root / "plugins"),
        "GF_PATHS_PROVISIONING": str(root / "provisioning"),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        # Not its well-known one, which anyone on this machine could log in with.
        "GF_SECURITY_ADMIN_PASSWORD": secrets.token_urlsafe(),
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    }


def main() -> int:
    """Read the command line and do what it says."""
    parser, starting = service_parser(
        __doc__, "this server", {"start": "start it; print its address", "stop": "end it"}
    )
    starting.add_argument("--prometheus", required=True, metavar="URL", help="of Prometheus")
    arguments = parser.parse_args()
    if arguments.command == "stop":
        one_program.stop(arguments.dir)
    else:
        print(f"Grafana at {start(arguments.dir, prometheus=arguments.prometheus)}")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
