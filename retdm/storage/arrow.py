"""The same URLs as Arrow file systems, which is what Ray wants for its own files."""

import os
from typing import TYPE_CHECKING

from retdm.storage.file import FileStore
from retdm.storage.urls import open_store

if TYPE_CHECKING:
    import pyarrow.fs


def arrow_filesystem(url: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    """The file system at `url` and the path on it, without a scheme; creates nothing.

    For `ray.train.RunConfig(storage_filesystem=..., storage_path=...)`, which sends it to other
    processes: Arrow takes the credentials from the environment of each, and sends none.

    Raises:
        StorageError: If the URL's scheme is not supported, or AWS_ENDPOINT_URL is not a URL.
    """
    import pyarrow.fs

    store = open_store(url)
    if isinstance(store, FileStore):
        return pyarrow.fs.LocalFileSystem(), str(store.root)
    from retdm.storage.s3_client import endpoint  # see open_store

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and endpoint():
        region = "us-east-1"  # or Arrow asks Amazon where the bucket is
    filesystem = pyarrow.fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint(),
        connect_timeout=5,
        request_timeout=60,
        allow_bucket_creation=False,
        force_virtual_addressing=False,
    )
    return filesystem, store.url.removeprefix("s3://")
