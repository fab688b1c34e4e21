"""An S3 server on this machine, for demos and tests: OpenStack Swift with its S3 interface.

    python cluster/local/s3_server.py start --dir .s3 --bucket retdm
    eval "$(python cluster/local/s3_server.py env --dir .s3)"
    python cluster/local/s3_server.py stop --dir .s3

One folder holds everything: settings, objects, logs and the secret key (mode 0600, drawn at
random at the first start). The server listens on loopback, checks signatures (SigV4) as a
cloud would, and keeps its objects between starts. `start` puts the same keys into effect again, at
the same address unless somebody else listens there by now.
"""

import http.client
import json
import os
import secrets
import shlex
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import background
import swift_settings
from background import LocalServiceError, Process
from service_commands import print_exports, service_parser

from retdm import console

_ACCESS_KEY = "retdm:local"  # Swift's S3 interface names a key "account:user"
_REGION = "us-east-1"
_FIRST_PORT = 9110
_START_LIMIT_S = 60.0
_STOP_GRACE_S = 5.0
_ATTEMPTS = 3
_PORT_TAKEN = "Could not bind"  # in Swift's own words


def start(
    root: Path,
    *,
    port: int | None = None,
    bucket: str | None = None,
    tied: bool = False,
    address: str = "127.0.0.1",
) -> dict[str, str]:
    """Start the server in folder `root` unless it runs already, and create `bucket`.

    Args:
        root: Folder of this server alone; created if missing.
        port: Preferred TCP port, by default that of the last start; another free one is taken if
            it is in use.
        bucket: Created unless it exists.
        tied: Whether the server ends with the calling process, however that ends.
        address: IPv4 address of this machine to listen on, if it does not run already. Anyone who
            reaches it can try keys, and nothing is encrypted.

    Returns:
        The environment that S3 clients need, as `environment` does.

    Raises:
        LocalServiceError: If the server does not come up; its log is quoted.
    """
    root = root.resolve()
    if not is_running(root):
        stop(root)
        _prepare(root)
        _start_servers(root, address, port or _last_port(root) or _FIRST_PORT, tied)
    settings = environment(root)
    if bucket:
        _create_bucket(settings, bucket)
    return settings


def stop(root: Path) -> None:
    """End the server of folder `root`; no error if it does not run."""
    background.end_saved(root.resolve() / "processes.json", grace_s=_STOP_GRACE_S)


def is_running(root: Path) -> bool:
    """Whether all processes of the server are alive."""
    processes = background.load_processes(root.resolve() / "processes.json")
    return bool(processes) and all(background.is_alive(p) for p in processes.values())


def environment(root: Path) -> dict[str, str]:
    """The AWS variables with which boto3, PyArrow and retdm find the server and its keys.

    Raises:
        LocalServiceError: If no server was started in this folder.
    """
    path = root.resolve() / "connection.json"
    try:
        settings: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LocalServiceError(
            f"{root}: no S3 server was started here; run `s3_server.py start --dir {root}` first"
        ) from None
    return settings


def _last_port(root: Path) -> int | None:
    try:
        return urlsplit(environment(root)["AWS_ENDPOINT_URL"]).port
    except (LocalServiceError, ValueError, KeyError):  # none yet, or a damaged file: `start` mends
        return None


def _prepare(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("etc", "node/d1", "log", "recon"):
        (root / name).mkdir(parents=True, exist_ok=True)
    try:
        os.setxattr(root / "node", "user.retdm", b"1")
    except OSError as error:
        raise LocalServiceError(
            f"{root}: its file system keeps no extended attributes ({error.strerror}), which "
            "Swift stores objects with; choose a folder on ext4, xfs or btrfs with --dir"
        ) from error
    if not (root / "secret").exists():
        background.write_private(root / "secret", secrets.token_hex(20))


def _start_servers(root: Path, address: str, preferred: int, tied: bool) -> None:
    for _ in range(_ATTEMPTS):  # somebody may take a port between the search and the start
        ports: dict[str, int] = {}
        for offset, kind in enumerate(swift_settings.SERVERS):
            ports[kind] = background.free_port(preferred + offset, avoid=ports.values())
        _write_settings(root, address, ports)
        processes: dict[str, Process] = {}
        try:
            for kind in ports:
                processes[kind] = _spawn(root, kind, tied)
                background.save_processes(root / "processes.json", processes)
            problem = _wait(processes, address, ports)
        except BaseException:
            stop(root)
            raise
        if not problem:
            return
        stop(root)
        log = root / "log" / f"{problem}.log"
        if _PORT_TAKEN not in (end := background.tail(log)):
            break
    raise LocalServiceError(
        f"the S3 server did not start: its {problem} part is not answering; the end of {log}:\n"
        f"{end}"
    )


def _spawn(root: Path, kind: str, tied: bool) -> Process:
    node = Path(__file__).resolve().parent / "swift_node.py"
    config = root / "etc" / f"{kind}-server.conf"
    # Keys of other S3 services in the caller's environment are no business of this server.
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return background.spawn(
        [sys.executable, str(node), kind, str(config)],
        log=root / "log" / f"{kind}.log",
        env=env,
        tied=tied,
    )


def _write_settings(root: Path, address: str, ports: dict[str, int]) -> None:
    secret = (root / "secret").read_text(encoding="ascii")
    swift_settings.write(
        root, ports, address=address, access_key=_ACCESS_KEY, secret=secret, region=_REGION
    )
    connection = {
        "AWS_ENDPOINT_URL": f"http://{address}:{ports['proxy']}",
        "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": _REGION,
    }
    background.write_private(root / "connection.json", json.dumps(connection))


def _wait(processes: dict[str, Process], address: str, ports: dict[str, int]) -> str:
    """Wait until all parts answer; returns the name of the part that does not, or ''."""
    deadline = time.monotonic() + _START_LIMIT_S
    waiting = dict(processes)
    while waiting and time.monotonic() < deadline:
        for kind, process in list(waiting.items()):
            if not background.is_alive(process):
                return kind
            if background.serves(process, ports[kind]) and (
                kind != "proxy" or _healthy(address, ports[kind])
            ):
                del waiting[kind]
        time.sleep(0.05)
    return next(iter(waiting), "")


def _healthy(address: str, port: int) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _create_bucket(settings: dict[str, str], bucket: str) -> None:
    import boto3
    from botocore.exceptions import ClientError

    client = boto3.client(
        "s3",
        endpoint_url=settings["AWS_ENDPOINT_URL"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
        region_name=settings["AWS_DEFAULT_REGION"],
    )
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
            raise LocalServiceError(
                f"bucket {bucket!r} cannot be created: {error}; names have 3 to 63 lower case "
                "letters, digits, dots or hyphens"
            ) from error
    finally:
        client.close()


def main() -> int:
    """Read the command line and do what it says."""
    parser, starting = service_parser(
        __doc__,
        "this server",
        {
            "start": "start the server, or find it running; print its address",
            "stop": "end it; its objects stay",
            "env": "print `export` lines for a shell (they hold the secret key)",
        },
    )
    starting.add_argument(
        "--port",
        type=int,
        help=f"preferred port; default: that of the last start, at first {_FIRST_PORT}",
    )
    starting.add_argument("--bucket", help="create this bucket")
    arguments = parser.parse_args()
    if arguments.command == "stop":
        stop(arguments.dir)
    elif arguments.command == "env":
        print_exports(environment(arguments.dir))
    else:
        before = _last_port(arguments.dir.resolve())
        settings = start(arguments.dir, port=arguments.port, bucket=arguments.bucket)
        print(f"S3 server at {settings['AWS_ENDPOINT_URL']}, data in {arguments.dir.resolve()}")
        if before not in (None, urlsplit(settings["AWS_ENDPOINT_URL"]).port):
            print(
                f"It was at port {before} before: in each shell that uses it, run again\n"
                f'  eval "$({shlex.join([sys.executable, *sys.argv[:1]])} env --dir '
                f'{shlex.quote(str(arguments.dir))})"'
            )
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
