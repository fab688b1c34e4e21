"""Files on a local folder or in an S3 bucket, behind one interface."""

from retdm.storage.arrow import arrow_filesystem
from retdm.storage.protocol import Store
from retdm.storage.urls import file_in_store, join_url, open_store

__all__ = ["Store", "arrow_filesystem", "file_in_store", "join_url", "open_store"]
