"""From a URL to the store behind it."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from retdm.errors import ConfigError, StorageError
from retdm.shown_url import shown_url
from retdm.storage.file import FileStore
from retdm.storage.protocol import Store

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")


def open_store(url: str) -> Store:
    """The store at `url`: a plain path, `file:///path` or `s3://bucket/prefix`.

    Contacts nothing. A relative path is made absolute here, because cluster workers have
    another working directory.

    Raises:
        StorageError: If the URL is empty, incomplete or of a scheme that retdm does not read.
    """
    if not url.strip():
        raise StorageError("the storage URL is empty; give a folder or s3://bucket/prefix")
    scheme = _SCHEME.match(url)
    if scheme is None:
        return FileStore(Path(url).expanduser().absolute())
    if scheme[1] == "file":
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise StorageError(f"{url}: not a local file URL; write it as file:///absolute/path")
        return FileStore(Path(unquote(parts.path)))
    if scheme[1] == "s3":
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not url.startswith("s3://") or not bucket:
            raise StorageError(f"{url}: no bucket in it; write it as s3://bucket/prefix")
        if "@" in bucket or (":" in bucket and not bucket.startswith("arn:")):
            # s3://KEY:SECRET@BUCKET, as other programs take it; never shown.
            raise StorageError(
                "an s3:// URL has an '@' or ':' where its bucket's name is; write it as "
                "s3://bucket/prefix, and give keys by AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, since URLs are written to logs and results"
            )
        # Not at the top: botocore takes 0.2 s to import, and most commands never speak to S3.
        from retdm.storage.s3 import S3Store

        return S3Store(bucket, prefix.strip("/"))
    raise StorageError(
        f"{shown_url(url)}: scheme {scheme[1]!r} is not supported; use a folder, file:// or "
        "s3://bucket/prefix"
    )


def file_in_store(url: str) -> tuple[Store, str]:
    """The store that holds a single file, and the file's name in it.

    Raises:
        ConfigError: If the URL is that of a folder.
        StorageError: As of `open_store`.
    """
    folder, slash, name = url.rpartition("/")
    if not name:
        raise ConfigError(f"{url!r} names a folder, not a file; add a file name")
    return open_store(f"{folder}/" if slash else "."), name


def join_url(url: str, *parts: str) -> str:
    """Append path parts to a URL or path.

    Example:
        >>> join_url("s3://photos/sets/", "scene", "train")
        's3://photos/sets/scene/train'
    """
    tail = [part.strip("/") for part in parts if part.strip("/")]
    return "/".join([url.rstrip("/") or "/", *tail]) if url != "/" else "/" + "/".join(tail)
