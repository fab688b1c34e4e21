"""A prefix of a bucket on Amazon S3 or anything that speaks its protocol.

Where and who is taken from the standard AWS variables (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION) or AWS configuration files; how long is tried what
fails, from RETDM_S3_PATIENCE_S and RETDM_S3_STALL_S.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from retdm.counts import COUNTS
from retdm.errors import NotFoundError, ShortFileError, StorageError, TransientStorageError
from retdm.storage.patience import Patience
from retdm.storage.protocol import check_name
from retdm.storage.s3_client import endpoint
from retdm.storage.s3_errors import FAILURES, explain, is_absent, is_changed, passes
from retdm.storage.s3_parts import UPLOAD_BYTES, download, upload, write_at

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
_CHANGES = 3


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
        """The whole object, if large by several ranged GETs at once."""
        key = self._key(name)

        def fetch(patience: Patience) -> bytes:
            parts: dict[int, bytes] = {}
            download(patience, self.bucket, key, parts.__setitem__)
            return b"".join(parts[start] for start in sorted(parts))

        with self._explained(name) as patience:
            return _unchanged(lambda: fetch(patience))

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Exactly `size` bytes from `start`, by one ranged GET."""
        key = self._key(name)
        if size == 0:
            return b""
        part = f"bytes={start}-{start + size - 1}"

        def get(client: "S3Client") -> bytes:
            return client.get_object(Bucket=self.bucket, Key=key, Range=part)["Body"].read()

        with self._explained(name) as patience:
            content = patience.call(get)
        COUNTS.add("s3_read_bytes", len(content))
        if len(content) != size:
            raise ShortFileError(
                f"{self.url}/{name}: {len(content)} bytes at offset {start} where {size} were "
                "wanted; the object is shorter than its index says: upload or build it again"
            )
        return content

    def write(self, name: str, content: bytes | Path) -> None:
        """Upload; large content goes in parts, which become visible together at the end."""
        key = self._key(name)
        with self._explained(name) as patience:
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            if size > UPLOAD_BYTES:
                _unchanged(lambda: upload(patience, self.bucket, key, content))
                return
            body = content if isinstance(content, bytes) else content.read_bytes()
            patience.call(lambda s3: s3.put_object(Bucket=self.bucket, Key=key, Body=body))
            COUNTS.add("s3_written_bytes", size)

    def download(self, name: str, to: Path) -> None:
        """Fetch into `to`, large objects by several ranged GETs at once."""
        key = self._key(name)

        def fetch(patience: Patience, handle: int) -> None:
            size = download(patience, self.bucket, key, lambda at, c: write_at(handle, at, c))
            os.ftruncate(handle, size)

        with self._explained(name) as patience:
            # Not emptied first: room that was set aside for it would be given up.
            handle = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                _unchanged(lambda: fetch(patience, handle))
            finally:
                os.close(handle)

    def size(self, name: str) -> int | None:
        """Bytes of the object, or None."""
        key = self._key(name)
        try:
            with self._explained(name) as patience:
                head = patience.call(lambda s3: s3.head_object(Bucket=self.bucket, Key=key))
        except NotFoundError:
            return None
        return head["ContentLength"]

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects below the root that start with `prefix`."""
        root = f"{self.prefix}/" if self.prefix else ""
        query: Any = {"Bucket": self.bucket, "Prefix": root + prefix}
        found: list[str] = []
        with self._explained(prefix) as patience:
            # Page by page rather than by a paginator: a fault costs one page, not all.
            while True:
                page = patience.call(lambda s3: s3.list_objects_v2(**query))
                found += [item["Key"] for item in page.get("Contents", [])]
                if not page.get("IsTruncated"):
                    break
                query["ContinuationToken"] = page["NextContinuationToken"]
        return sorted(key.removeprefix(root) for key in found if not key.endswith("/"))

    def delete(self, name: str) -> None:
        """Remove the object if it is there."""
        key = self._key(name)
        try:
            with self._explained(name) as patience:
                patience.call(lambda s3: s3.delete_object(Bucket=self.bucket, Key=key))
        except NotFoundError:
            return

    @contextmanager
    def _explained(self, name: str) -> Iterator[Patience]:
        url = f"{self.url}/{name}"
        patience = Patience(url)
        try:
            yield patience
        except FAILURES as error:
            if is_absent(error) and self._has_bucket():
                raise NotFoundError(f"{url}: no such object; check the URL") from None
            if is_changed(error):
                raise TransientStorageError(
                    f"{url}: replaced again and again while it was read or written; let only one "
                    "program write there at a time"
                ) from error
            raise explain(error, url, self.bucket, endpoint(), tried=patience.tried()) from error
        except OSError as error:
            raise StorageError(f"{url}: {error}; check the local disk") from error

    def _has_bucket(self) -> bool:
        """Tell a missing object from a missing bucket, which HEAD answers alike."""
        patience = Patience(self.url)
        try:
            patience.call(lambda s3: s3.head_bucket(Bucket=self.bucket))
        except FAILURES as error:
            if passes(error):
                raise explain(
                    error, self.url, self.bucket, endpoint(), tried=patience.tried()
                ) from error
            return not is_absent(error)
        return True


def _unchanged(call: Callable[[], T]) -> T:
    """Begin again where the object was replaced, or the upload forgotten, in the middle."""
    for _ in range(_CHANGES - 1):
        try:
            return call()
        except FAILURES as error:
            if not is_changed(error):
                raise
    return call()
