"""A prefix of a bucket on Amazon S3 or anything that speaks its protocol.

Where and who is taken from the standard AWS variables (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION) or AWS configuration files.
"""

import io
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import is_valid_endpoint_url
from s3transfer.exceptions import RetriesExceededError

from retdm.errors import NotFoundError, StorageError, TransientStorageError
from retdm.storage.protocol import check_name
from retdm.storage.s3_errors import BROKEN, explain, is_absent

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
_MULTIPART_BYTES = 16 << 20
_log = logging.getLogger(__name__)
_lock = threading.Lock()


def endpoint() -> str | None:
    """The endpoint asked for in the environment; None means Amazon's own.

    Raises:
        StorageError: If it is not a URL.
    """
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        url = os.environ.get(variable)
        if url:
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


def _client() -> "S3Client":
    """This process's client for the present AWS settings.

    Keyed by process, because connections must not be shared across a fork, and by the settings,
    because programs may set them after the first use. boto3 clients are safe to share between
    threads, but making one is not.
    """
    settings = frozenset((k, v) for k, v in os.environ.items() if k.startswith("AWS_"))
    with _lock:
        return _make_client(os.getpid(), settings)


@lru_cache(maxsize=4)
def _make_client(_pid: int, _settings: frozenset[tuple[str, str]]) -> "S3Client":
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=32,
        tcp_keepalive=True,
        retries={"mode": "adaptive", "total_max_attempts": _attempts()},
        # Servers other than Amazon's rarely have a host name for each bucket.
        s3={"addressing_style": "path" if endpoint() else "auto"},
        # Many of them also refuse the CRC trailers; shards have SHA-256 digests of their own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session()
    region = session.region_name or "us-east-1"
    return session.client("s3", region_name=region, endpoint_url=endpoint(), config=config)


@dataclass(frozen=True)
class S3Store:
    """Objects of `bucket` whose keys start with `prefix/`; the bucket must exist."""

    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """The root as s3://bucket/prefix."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def _key(self, name: str) -> str:
        check_name(self.url, name)
        return f"{self.prefix}/{name}" if self.prefix else name

    def read(self, name: str) -> bytes:
        """The whole object, by one GET."""
        key = self._key(name)
        with self._explained(name):
            return _patiently(
                lambda: _client().get_object(Bucket=self.bucket, Key=key)["Body"].read()
            )

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Exactly `size` bytes from `start`, by one ranged GET."""
        key = self._key(name)
        if size == 0:
            return b""
        part = f"bytes={start}-{start + size - 1}"
        with self._explained(name):
            content = _patiently(
                lambda: (
                    _client().get_object(Bucket=self.bucket, Key=key, Range=part)["Body"].read()
                )
            )
        if len(content) != size:
            raise StorageError(
                f"{self.url}/{name}: {len(content)} bytes at offset {start} where {size} were "
                "wanted; the object is shorter than its index says: upload or build it again"
            )
        return content

    def write(self, name: str, content: bytes | Path) -> None:
        """Upload; large content goes in parts, which become visible together at the end."""
        key = self._key(name)

        def send() -> None:
            if isinstance(content, bytes) and len(content) < _MULTIPART_BYTES:
                _client().put_object(Bucket=self.bucket, Key=key, Body=content)
                return
            # Not upload_file: that hides the server's error code inside a message.
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
                _client().upload_fileobj(file, self.bucket, key, Config=_transfer())

        with self._explained(name):
            _patiently(send)

    def download(self, name: str, to: Path) -> None:
        """Fetch into `to`, large objects by several ranged GETs at once."""
        key = self._key(name)

        def fetch() -> None:
            with to.open("wb") as file:
                _client().download_fileobj(self.bucket, key, file, Config=_transfer())

        with self._explained(name):
            _patiently(fetch)

    def size(self, name: str) -> int | None:
        """Bytes of the object, or None."""
        key = self._key(name)
        try:
            with self._explained(name):
                head = _patiently(lambda: _client().head_object(Bucket=self.bucket, Key=key))
        except NotFoundError:
            return None
        return head["ContentLength"]

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects below the root that start with `prefix`."""
        root = f"{self.prefix}/" if self.prefix else ""

        def listing() -> list[str]:
            pages = _client().get_paginator("list_objects_v2")
            return sorted(
                item["Key"].removeprefix(root)
                for page in pages.paginate(Bucket=self.bucket, Prefix=root + prefix)
                for item in page.get("Contents", [])
                if not item["Key"].endswith("/")
            )

        with self._explained(prefix):
            return _patiently(listing)

    def delete(self, name: str) -> None:
        """Remove the object if it is there."""
        key = self._key(name)
        try:
            with self._explained(name):
                _patiently(lambda: _client().delete_object(Bucket=self.bucket, Key=key))
        except NotFoundError:
            return

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if is_absent(error) and self._has_bucket():
                raise NotFoundError(f"{self.url}/{name}: no such object; check the URL") from None
            raise explain(error, f"{self.url}/{name}", self.bucket, endpoint()) from error
        except RetriesExceededError as error:
            raise TransientStorageError(
                f"{self.url}/{name}: the download broke off again and again "
                f"({error.last_exception}); check the network and the server"
            ) from error
        except BotoCoreError as error:
            raise explain(error, f"{self.url}/{name}", self.bucket, endpoint()) from error
        except OSError as error:
            raise StorageError(f"{self.url}/{name}: {error}; check the local disk") from error

    def _has_bucket(self) -> bool:
        """Tell a missing object from a missing bucket, which HEAD answers alike."""
        try:
            _client().head_bucket(Bucket=self.bucket)
        except ClientError as error:
            return not is_absent(error)
        except BotoCoreError as error:
            raise explain(error, self.url, self.bucket, endpoint()) from error
        return True


def _transfer() -> TransferConfig:
    return TransferConfig(
        multipart_threshold=_MULTIPART_BYTES, multipart_chunksize=_MULTIPART_BYTES
    )


def _attempts() -> int:
    text = os.environ.get("AWS_MAX_ATTEMPTS", "4")
    if not text.isdecimal() or int(text) < 1:
        raise StorageError(
            f"AWS_MAX_ATTEMPTS is {text!r}; set it to a whole number, 1 or more, or unset it"
        )
    return int(text)


def _patiently(call: Callable[[], T]) -> T:
    """Call again, later and later, when the connection failed or broke inside the body.

    botocore does not repeat the latter, and gives up on the former within a second, which is
    less than a server needs to restart.
    """
    for attempt in range(_attempts() - 1):
        try:
            return call()
        except (*BROKEN, RetriesExceededError) as error:
            wait_s = 0.5 * 2**attempt * random.uniform(0.5, 1.5)
            _log.warning("%s; trying again in %.1f s", error, wait_s)
            time.sleep(wait_s)
    return call()
