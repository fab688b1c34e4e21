"""A Ray head on this machine: one node, its dashboard and its job server, on loopback.

    python cluster/local/ray_head.py start --dir .ray --num-cpus 4
    eval "$(python cluster/local/ray_head.py env --dir .ray)"
    ray job submit --working-dir . -- python jobs/train.py jobs/recipes/scene.toml
    python cluster/local/ray_head.py stop --dir .ray

Jobs see the environment in which `start` was called, so export the S3 variables before it. The
job server runs whatever it is sent: by default it wants a token, which lies in the folder (mode
0600) and reaches clients by RAY_AUTH_TOKEN_PATH. `stop` ends this head and nothing else, unlike
`ray stop`, which ends every Ray of the machine.
"""

import http.client
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import background
from background import LocalServiceError
from service_commands import print_exports, service_parser

from retdm import console

Auth = Literal["token", "disabled"]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]  # the `ray` program of this environment

# For this very address Ray's servers listen on the loopback device alone; for another one of that
# device, 127.0.0.2 say, their gRPC ports would be open to the network.
_NODE_IP = "127.0.0.1"
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Or Ray, on Linux, puts the machine's outer address in place of that one, also in clients."""
_GCS_PORT, _DASHBOARD_PORT = 6379, 8265
_AGENT_PORT = 8365  # Ray's own choice is among those that Linux gives to outgoing connections
_CLIENT_PORTS = range(10001, 9900, -1)  # below the ports of workers, which begin at 10002
_OBJECT_STORE_BYTES = 256 * 2**20  # training passes no data through it
_START_LIMIT_S = 90.0
_STOP_GRACE_S = 15.0
_ATTEMPTS = 3
_TEMP = "r"  # Ray opens its folder to everybody, so it lies inside a private one


class PortTakenError(LocalServiceError):
    """Somebody took a port between the search for a free one and the start of the head."""


def start(
    root: Path,
    *,
    num_cpus: int,
    auth: Auth = "token",
    env: Mapping[str, str] | None = None,
    tied: bool = False,
    wait: bool = True,
) -> dict[str, str]:
    """Start a head in folder `root`; one that runs there already is ended first.

    Args:
        root: Folder of this head alone; created if missing.
        num_cpus: Logical CPUs; Ray schedules by them, whatever the machine really has.
        auth: Whether clients must show the token.
        env: Environment that jobs see; this process's own if None.
        tied: Whether the head ends with the calling process, however that ends.
        wait: Whether to return only when jobs can be submitted; else call `wait_until_ready`.

    Returns:
        The environment that clients need, as `environment` does.

    Raises:
        LocalServiceError: If the head does not come up; its log is quoted.
    """
    root = root.resolve()
    for attempt in range(1, _ATTEMPTS + 1):
        client = _launch(root, num_cpus, auth, os.environ if env is None else env, tied)
        if not wait:
            break
        try:
            wait_until_ready(root)
            break
        except PortTakenError:
            if attempt == _ATTEMPTS:
                raise
    return client


def wait_until_ready(root: Path) -> None:
    """Return when the head of folder `root` accepts jobs.

    Raises:
        PortTakenError: If another program listens on a port that was chosen for the head.
        LocalServiceError: If it ends or needs too long; it is stopped and its log quoted.
    """
    root = root.resolve()
    client = environment(root)
    processes = background.load_processes(root / "processes.json")
    deadline = time.monotonic() + _START_LIMIT_S
    dashboard = int(client["RAY_API_SERVER_ADDRESS"].rpartition(":")[2])
    # The agent starts last, and without it Ray takes no job.
    agent = int((root / "agent_port").read_text(encoding="ascii"))
    # Whoever else may listen there must not be shown the token.
    while not (_all_serve(processes.values(), dashboard, agent) and _answers(client)):
        for port, what in ((dashboard, "dashboard"), (agent, "dashboard's agent")):
            if any(background.is_taken(p, port) for p in processes.values()):
                stop(root)
                raise PortTakenError(
                    f"the Ray head did not start: another program took port {port}, which was "
                    f"chosen for the {what}; start it again"
                )
        alive = bool(processes) and all(background.is_alive(p) for p in processes.values())
        if not alive or time.monotonic() > deadline:
            stop(root)
            raise background.not_started(
                "the Ray head", alive=alive, limit_s=_START_LIMIT_S, log=root / "ray.log"
            )
        time.sleep(0.1)


def _all_serve(processes: Collection[background.Process], *ports: int) -> bool:
    return all(any(background.serves(p, port) for p in processes) for port in ports)


def stop(root: Path) -> None:
    """End the head of folder `root` with all its jobs; no error if it does not run.

    Ray's own logs are kept in `root/logs`, the rest of its temporary files are deleted.
    """
    root = root.resolve()
    background.end_saved(root / "processes.json", grace_s=_STOP_GRACE_S)
    for name in ("connection.json", "agent_port"):
        (root / name).unlink(missing_ok=True)
    if not (root / "session").exists():
        return
    session = Path((root / "session").read_text(encoding="utf-8"))
    logs = session / _TEMP / "session_latest/logs"
    if logs.is_dir():
        shutil.rmtree(root / "logs", ignore_errors=True)
        # A socket or pipe among the logs cannot be copied; a lost log must not keep files back.
        shutil.copytree(
            logs.resolve(),
            root / "logs",
            ignore=lambda folder, names: [n for n in names if not _is_plain(Path(folder, n))],
        )
        (root / "logs").chmod(0o700)
    shutil.rmtree(session, ignore_errors=True)
    (root / "session").unlink()


def environment(root: Path) -> dict[str, str]:
    """The variables with which `ray job submit` and `ray.init()` find and enter the head.

    Raises:
        LocalServiceError: If no head runs in this folder.
    """
    try:
        text = (root.resolve() / "connection.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LocalServiceError(
            f"{root}: no Ray head runs here; run `ray_head.py start --dir {root}` first"
        ) from None
    client: dict[str, str] = json.loads(text)
    return client


def _launch(
    root: Path, num_cpus: int, auth: Auth, env: Mapping[str, str], tied: bool
) -> dict[str, str]:
    stop(root)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    ports = {
        "gcs": background.free_port(_GCS_PORT),
        "dashboard": background.free_port(_DASHBOARD_PORT),
        "agent": background.free_port(_AGENT_PORT),
        "client": _client_port(),
    }
    client = {
        "RAY_ADDRESS": f"{_NODE_IP}:{ports['gcs']}",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{ports['dashboard']}",
        "RAY_AUTH_MODE": auth,
        **_LOOPBACK,
    }
    if auth == "token":
        token = root / "token"
        background.write_private(token, secrets.token_hex(32))
        client["RAY_AUTH_TOKEN_PATH"] = str(token)
    # Sockets lie below this folder and their paths may have 107 characters: not under `root`.
    session = Path(tempfile.mkdtemp(prefix="retdm-ray-", dir="/tmp"))
    background.write_private(root / "session", str(session))
    background.write_private(root / "agent_port", str(ports["agent"]))
    background.write_private(root / "connection.json", json.dumps(client))
    head = background.spawn(
        _command(ports, num_cpus, session),
        log=root / "ray.log",
        env=_head_environment(env, client),
        tied=tied,
    )
    background.save_processes(root / "processes.json", {"head": head})
    return client


def _command(ports: Mapping[str, int], num_cpus: int, session: Path) -> list[str]:
    options = {
        "node-ip-address": _NODE_IP,
        "port": ports["gcs"],
        "dashboard-host": "127.0.0.1",
        "dashboard-port": ports["dashboard"],
        "dashboard-agent-listen-port": ports["agent"],
        "ray-client-server-port": ports["client"],
        "num-cpus": num_cpus,
        "object-store-memory": _OBJECT_STORE_BYTES,
        "temp-dir": session / _TEMP,
        "log-color": "false",
    }
    flags = ["--head", "--block", "--disable-usage-stats"]
    return [*RAY, "start", *flags, *(f"--{name}={value}" for name, value in options.items())]


def _head_environment(env: Mapping[str, str], client: Mapping[str, str]) -> dict[str, str]:
    """What the head, and so every job and worker, finds in its environment."""
    out = {name: value for name, value in env.items() if not name.startswith("RAY_AUTH_")}
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # of some other cluster
        out.pop(name, None)
    out |= {name: value for name, value in client.items() if name.startswith("RAY_AUTH_")}
    out |= _LOOPBACK
    # Ray Train's helpers look for the dashboard: without this they fail where another Ray runs.
    out["RAY_API_SERVER_ADDRESS"] = client["RAY_API_SERVER_ADDRESS"]
    # A job's `python` is the one that runs this program, whether or not it was activated.
    out["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    # gloo would ask the name service for this machine's address, which need not exist.
    out.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return out


def _answers(client: Mapping[str, str]) -> bool:
    headers = {}
    if "RAY_AUTH_TOKEN_PATH" in client:
        token = Path(client["RAY_AUTH_TOKEN_PATH"]).read_text(encoding="ascii")
        headers["Authorization"] = f"Bearer {token}"
    host = client["RAY_API_SERVER_ADDRESS"].removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("GET", "/api/version", headers=headers)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _client_port() -> int:
    for port in _CLIENT_PORTS:
        if background.free_port(port) == port:
            return port
    raise LocalServiceError(
        f"no free port from {_CLIENT_PORTS[-1]} to {_CLIENT_PORTS[0]} for Ray's client server; "
        "end other Ray clusters of this machine"
    )


def _is_plain(path: Path) -> bool:
    return path.is_dir() or path.is_file()


def main() -> int:
    """Read the command line and do what it says."""
    parser, starting = service_parser(
        __doc__,
        "this head",
        {
            "start": "start the head; print its addresses",
            "stop": "end it with all its jobs; keep its logs",
            "env": "print `export` lines for a shell",
        },
    )
    starting.add_argument("--num-cpus", type=int, default=os.cpu_count() or 1, help="logical CPUs")
    starting.add_argument(
        "--auth", choices=["token", "disabled"], default="token", help="who may submit"
    )
    arguments = parser.parse_args()
    if arguments.command == "stop":
        stop(arguments.dir)
    elif arguments.command == "env":
        print_exports(environment(arguments.dir))
    else:
        client = start(arguments.dir, num_cpus=arguments.num_cpus, auth=arguments.auth)
        print(f"Ray head at {client['RAY_ADDRESS']}")
        print(f"dashboard at {client['RAY_API_SERVER_ADDRESS']}")
        if "RAY_AUTH_TOKEN_PATH" in client:
            print(f"its token is in {client['RAY_AUTH_TOKEN_PATH']}")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
