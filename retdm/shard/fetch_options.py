"""What a spec says of its source's archives (`[[fetch]]`), and names that are safe on disk."""

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from retdm.config import Settings

WORK = ".fetch"
"""Folder of archives and records, in that of the source."""
_HEX_DIGITS = {"sha256": 64, "md5": 32}
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]")
_LONGEST_NAME = 150
"""Characters; a file system takes 255 bytes, and names of parts and records are longer."""


class ArchiveOptions(Settings):
    """One official archive of the source, for `python -m retdm.shard fetch` (`[[fetch]]`)."""

    url: str = Field(description="Of a zip archive, http or https; the last part is its name")
    bytes: int = Field(ge=1, description="Its size")
    digest: str = Field(
        default="", description='"sha256:HEX" or "md5:HEX"; empty: none was published'
    )
    members: str = Field(
        default="*", min_length=1, description="Files to unpack, as a pattern of whole names"
    )
    into: str = Field(default="", description="Folder of the source that they go to")
    unpacked: int = Field(default=0, ge=0, description="Their size, about; 0: as the archive")

    @field_validator("url")
    @classmethod
    def _is_of_a_file(cls, url: str) -> str:
        # Not at the top: all that builds a shard set would import it, and few specs have archives.
        from urllib3.util import parse_url

        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            parse_url(url)  # as the client will
        except ValueError as error:
            raise _wrong(f"not a web address ({error}); correct it") from None
        if not sound or re.search(r"\s", url):
            raise _wrong(
                "not a web address; write it as http://HOST/NAME.zip or https://HOST/NAME.zip"
            )
        if not archive_name(url):
            raise _wrong(
                "names no file; the address of an archive ends with the archive's name, as in "
                "https://HOST/photos.zip"
            )
        return url

    @field_validator("digest")
    @classmethod
    def _is_a_digest(cls, digest: str) -> str:
        kind, _, value = digest.lower().partition(":")
        if digest and not re.fullmatch(rf"[0-9a-f]{{{_HEX_DIGITS.get(kind, 0)}}}", value or " "):
            wanted = " or ".join(
                f"'{name}:' and {count} hexadecimal digits" for name, count in _HEX_DIGITS.items()
            )
            raise _wrong(f"not a digest; write {wanted}, or leave it out where none was published")
        return digest.lower()

    @field_validator("into")
    @classmethod
    def _is_below(cls, into: str) -> str:
        path = PurePosixPath(into)
        if path.is_absolute() or ".." in path.parts or path.parts[:1] == (WORK,):
            raise _wrong(
                f"not a folder of the source; write a relative path without '..', not {WORK}"
            )
        return into


def _wrong(why: str) -> PydanticCustomError:
    return PydanticCustomError("archive", "{why}", {"why": why})


def archive_name(url: str) -> str:
    """The name of an archive's file, from its URL: never a path, nor hidden; "" if it has none.

    Example:
        >>> archive_name("https://host/a/my%20photos.zip?download=1")
        'my photos.zip'
        >>> archive_name("https://host/..%2F..%2Fphotos.zip")
        '_.._photos.zip'
    """
    last = unquote(urlsplit(url).path.rpartition("/")[2])
    return _UNSAFE.sub("_", last).lstrip(".")[-_LONGEST_NAME:]
