"""This process's connection to S3, made from the AWS settings of the moment."""

import os
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.utils import is_valid_endpoint_url

from retdm.errors import StorageError
from retdm.storage.limits import stall_s

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECT_S = 5.0
_lock = threading.Lock()
_made: tuple[object, "S3Client"] | None = None


def endpoint() -> str | None:
    """The endpoint asked for in the environment; None means Amazon's own.

    Raises:
        StorageError: If it is not a URL, or holds more than an address.
    """
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        url = os.environ.get(variable)
        if url:
            if "@" in url or "?" in url:  # before anything is said that would show it
                raise StorageError(
                    f"{variable} holds a user name, a password or a query, which errors and logs "
                    "would show; write it as http://HOST:PORT or https://HOST, and give keys by "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                )
            if not _is_web_url(url):
                raise StorageError(
                    f"{variable} is {url!r}, which is not a URL; write it as http://HOST:PORT or "
                    "https://HOST"
                )
            return url
    return None


def _is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is no number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and is_valid_endpoint_url(url)


def client() -> "S3Client":
    """The client for the present settings.

    Made anew in another process, because connections must not be shared across a fork, and for
    other settings, because programs may set them after the first use. Clients are safe to
    share between threads, but making one is not.
    """
    global _made
    names = [name for name in os.environ if name.startswith(("AWS_", "RETDM_S3_"))]
    key = (os.getpid(), frozenset((name, os.environ[name]) for name in names))
    with _lock:
        if _made is None or _made[0] != key:
            _made = key, _make()
        return _made[1]


def forget(client: "S3Client") -> None:
    """Make the next one anew, with the credentials that are valid then."""
    global _made
    with _lock:
        # Many threads are refused at once; only the first of them finds it still in use.
        if _made is not None and _made[1] is client:
            _made = None


def _make() -> "S3Client":
    stall = stall_s()
    config = Config(
        connect_timeout=min(_CONNECT_S, stall),
        read_timeout=stall,
        max_pool_connections=32,
        tcp_keepalive=True,
        # botocore must not repeat calls: it counts attempts, and only `Patience` knows how much
        # time is left. So AWS_MAX_ATTEMPTS and AWS_RETRY_MODE have no effect.
        retries={"mode": "standard", "total_max_attempts": 1},
        # Servers other than Amazon's rarely have a host name for each bucket.
        s3={"addressing_style": "path" if endpoint() else "auto"},
        # Many of them also refuse the CRC trailers; shards have SHA-256 digests of their own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = botocore.session.get_session()
    session.register_component("data_loader", _descriptions())
    region = session.get_config_variable("region") or "us-east-1"
    made: Any = session.create_client(
        "s3", region_name=region, endpoint_url=endpoint(), config=config
    )
    return cast("S3Client", made)


@cache
def _descriptions() -> Any:
    """What botocore knows about S3; to read it takes 0.15 s, so refused clients share it."""
    return botocore.session.get_session().get_component("data_loader")
