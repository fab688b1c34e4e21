"""Where the files of one archive lie in a source's folder, and what was noted down about them.

In `.fetch/KEY/`, where KEY stands for the archive's whole address: the archive while it is needed;
`NAME.part`, what has arrived of it, and `NAME.tag`; `NAME.wrong`, one that arrived twice with
another digest than the spec's; and a record of what was unpacked for each entry of the spec.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retdm.shard.fetch_http import part_of
from retdm.shard.fetch_options import WORK, ArchiveOptions, archive_name

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """The place of `archive` in `folder`."""

    folder: Path
    archive: ArchiveOptions

    @property
    def name(self) -> str:
        """Of the archive's file."""
        return archive_name(self.archive.url)

    @property
    def path(self) -> Path:
        """The archive; those of equal names and other addresses do not meet."""
        return self.folder / WORK / _key(self.archive.url) / self.name

    @property
    def wrong(self) -> Path:
        """The archive that is not the one meant."""
        return self.path.with_name(f"{self.name}.wrong")

    @property
    def given(self) -> Path:
        """Where people may put an archive that they have already."""
        return self.folder / self.name

    @property
    def into(self) -> Path:
        """Where its files go."""
        return self.folder / self.archive.into

    @property
    def bytes_here(self) -> int:
        """How much of the archive is there."""
        paths = (self.path, part_of(self.path), self.given)
        return max((path.stat().st_size for path in paths if path.exists()), default=0)

    def record(self) -> dict[str, Any] | None:
        """What an earlier run noted, if it was of the same archive and its files are in place."""
        record = _read(self._note)
        if record is None or record["archive"] != self.archive.model_dump():
            return None
        for name, size in record["files"].items():
            path = self.into / name
            if not path.is_file() or path.stat().st_size != size:
                _log.warning("%s is missing or damaged; getting %s again", path, self.name)
                return None
        return record

    def note(self, *, sha256: str, files: dict[str, int]) -> dict[str, Any]:
        """Keep a record of what was unpacked."""
        record = {"archive": self.archive.model_dump(), "sha256": sha256, "files": files}
        self._note.parent.mkdir(exist_ok=True)
        beside = self._note.with_suffix(".part")
        beside.write_text(json.dumps(record))
        beside.replace(self._note)
        return record

    @property
    def _note(self) -> Path:
        archive = self.archive
        return self.path.with_name(f"{_key(archive.url, archive.members, archive.into)}.json")


def unpacked(folder: Path) -> set[Path]:
    """All files that fetch has ever unpacked into a folder, by its records."""
    return set(_unpacked(folder))


def _unpacked(folder: Path) -> Iterator[Path]:
    for path in (folder / WORK).glob("*/*.json"):
        if record := _read(path):
            for name in record["files"]:
                yield folder / record["archive"]["into"] / name


def _read(note: Path) -> dict[str, Any] | None:
    """None if there is none, or it is damaged."""
    try:
        record = json.loads(note.read_text())
        _ = record["archive"]["into"], record["sha256"], record["files"].items()
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    found: dict[str, Any] = record
    return found


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
