"""Large objects in parts, several at once, so that a fault costs one part and not the whole."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from retdm.counts import COUNTS
from retdm.storage import s3_client
from retdm.storage.patience import Patience
from retdm.storage.s3_errors import FAILURES, is_beyond

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
UPLOAD_BYTES = 16 << 20
"""Of a part that is sent; no more are sent in one piece."""
_UPLOADS = 4
_DOWNLOAD_BYTES = 8 << 20
_DOWNLOADS = 8
_MOST_PARTS = 10_000  # S3's limit


def download(
    patience: Patience, bucket: str, key: str, write: Callable[[int, bytes], None]
) -> int:
    """Hand the whole object to `write(offset, content)`, from several threads at once.

    Returns:
        Size of the object, bytes.

    Raises:
        Exception: One of `FAILURES`; `is_changed` if the object was replaced meanwhile.
    """

    def first(client: "S3Client") -> tuple[bytes, str, int]:
        try:
            answer = client.get_object(
                Bucket=bucket, Key=key, Range=f"bytes=0-{_DOWNLOAD_BYTES - 1}"
            )
        except FAILURES as error:
            if is_beyond(error):  # no byte at all
                return b"", "", 0
            raise
        content = answer["Body"].read()
        # A server that knows no ranges sends everything, and no ContentRange.
        total = answer.get("ContentRange", "").rpartition("/")[2]
        return content, answer["ETag"], int(total) if total.isdecimal() else len(content)

    def fetch(start: int) -> None:
        last = min(start + _DOWNLOAD_BYTES, size) - 1

        def part(client: "S3Client") -> bytes:
            # Without IfMatch an object that is replaced now would give a mixture of both.
            answer = client.get_object(
                Bucket=bucket, Key=key, Range=f"bytes={start}-{last}", IfMatch=etag
            )
            return answer["Body"].read()

        accept(start, patience.call(part))

    def accept(start: int, content: bytes) -> None:
        COUNTS.add("s3_read_bytes", len(content))
        write(start, content)

    content, etag, size = patience.call(first)
    accept(0, content)
    _all(fetch, range(len(content), size, _DOWNLOAD_BYTES), _DOWNLOADS)
    return size


def upload(patience: Patience, bucket: str, key: str, content: bytes | Path) -> None:
    """Send a large object; the parts become visible together at the end, or are removed.

    Raises:
        Exception: One of `FAILURES`, or OSError if the file cannot be read; `is_changed` if the
            server does not know this upload any more.
    """
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    length = max(UPLOAD_BYTES, -(-size // _MOST_PARTS))
    where: Any = {"Bucket": bucket, "Key": key}
    started = patience.call(lambda client: client.create_multipart_upload(**where))
    where |= {"UploadId": started["UploadId"]}

    def send(number: int) -> str:
        part = _slice(content, (number - 1) * length, length)
        answer = patience.call(
            lambda client: client.upload_part(**where, PartNumber=number, Body=part)
        )
        COUNTS.add("s3_written_bytes", len(part))
        return answer["ETag"]

    try:
        etags = _all(send, range(1, -(-size // length) + 1), _UPLOADS)
        parts: Any = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, start=1)]
        ending = where | {"MultipartUpload": {"Parts": parts}}
        patience.call(lambda client: client.complete_multipart_upload(**ending))
    except BaseException:
        _abandon(where)
        raise


def _abandon(where: Any) -> None:
    """Remove the parts, which would cost money unseen; once, as the server may be gone."""
    try:
        s3_client.client().abort_multipart_upload(**where)
    except FAILURES:
        return


def _slice(content: bytes | Path, start: int, length: int) -> bytes:
    if isinstance(content, bytes):
        return content[start : start + length]
    with content.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _all(function: Callable[[int], T], numbers: range, at_once: int) -> list[T]:
    """The results for all numbers, by threads; after a failure no more are begun."""
    if len(numbers) < 2:
        return [function(number) for number in numbers]
    with ThreadPoolExecutor(min(at_once, len(numbers)), thread_name_prefix="retdm-s3") as pool:
        futures = [pool.submit(function, number) for number in numbers]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write_at(handle: int, start: int, content: bytes) -> None:
    """Write all of `content` at an offset; a disk that gets full may take some of it first."""
    view = memoryview(content)
    while view:
        count = os.pwrite(handle, view, start)
        view, start = view[count:], start + count
