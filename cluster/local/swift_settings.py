"""Writes the settings of a one-disk OpenStack Swift with its S3 interface."""

import os
import pwd
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import background
from background import LocalServiceError

SERVERS = ("proxy", "account", "container", "object")
"""The four programs that make up a Swift; clients talk to the first."""

_COMMON = """\
[DEFAULT]
bind_ip = {address}
bind_port = {port}
bind_timeout = 3
user = {user}
swift_dir = {root}/etc
devices = {root}/node
recon_cache_path = {root}/recon
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING
workers = 0
"""

_BACKEND = """
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
disk_chunk_size = 1048576
network_chunk_size = 1048576
"""

_PROXY = """\
client_timeout = 60
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth
    slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
object_chunk_size = 1048576
client_chunk_size = 1048576
recoverable_node_timeout = 30
node_timeout = 60
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
paste.filter_factory = swift_node:cache_filter
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = {region}
s3_acl = false
dns_compliant_bucket_names = true
max_upload_part_num = 10000
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{name} = {secret} .admin
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
[filter:dlo]
use = egg:swift#dlo
"""


def write(
    root: Path,
    ports: Mapping[str, int],
    *,
    address: str,
    access_key: str,
    secret: str,
    region: str,
) -> None:
    """Write `root/etc`: one file for each of `SERVERS`, and what tells the proxy where data lies.

    Args:
        root: Absolute folder of the whole server.
        ports: TCP port of each of `SERVERS`.
        address: What the first listens on; the others are on loopback.
        access_key: "ACCOUNT:USER", the form in which Swift's S3 interface names a key.
        secret: The key's secret.
        region: Name that clients sign requests with.

    Raises:
        LocalServiceError: If the user running this has no name, which Swift asks for, or Swift
            is not installed.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise LocalServiceError(
            f"user id {os.getuid()} has no name, and Swift needs one; add it to /etc/passwd"
        ) from None
    (root / "etc").mkdir(parents=True, exist_ok=True)
    if not (root / "etc/swift.conf").exists():
        # The suffix decides where objects lie on disk: it must not change once data is there.
        salt = secrets.token_hex(16)
        background.write_private(
            root / "etc/swift.conf",
            f"[swift-hash]\nswift_hash_path_prefix = retdm\nswift_hash_path_suffix = {salt}\n"
            "[storage-policy:0]\nname = local\ndefault = yes\n",
        )
    account, _, name = access_key.partition(":")
    for kind in SERVERS:
        text = _COMMON.format(
            address=address if kind == "proxy" else "127.0.0.1",
            port=ports[kind],
            user=user,
            root=str(root).replace("%", "%%"),
        )
        if kind == "proxy":
            text += _PROXY.format(region=region, account=account, name=name, secret=secret)
        else:
            text += _BACKEND.format(kind=kind)
        background.write_private(root / "etc" / f"{kind}-server.conf", text)
    _write_rings(root, ports)


def _write_rings(root: Path, ports: Mapping[str, int]) -> None:
    program = Path(__file__).resolve().with_name("swift_ring.py")
    servers = [f"{kind}={ports[kind]}" for kind in SERVERS if kind != "proxy"]
    done = subprocess.run(
        [sys.executable, str(program), str(root / "etc"), *servers],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise LocalServiceError(
            f"Swift's ring files cannot be written ({_last_line(done.stderr)}); "
            f"is it installed for {sys.executable}? Run `make setup`, then this with the Python "
            "in .venv/bin, or `pip install 'swift>=2.38,<3'`"
        )


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
