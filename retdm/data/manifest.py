"""The manifest of a shard set: what exists, how much, and the SHA-256 of every file.

Written last by `retdm.shard`; a shard set without a manifest does not exist. The on-disk
contract is described in shards/FORMAT.md.
"""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retdm.config import DataSettings
from retdm.data.verified import read_verified
from retdm.errors import NotFoundError, ShardError
from retdm.json_input import parse_json
from retdm.labels import LabelSpace
from retdm.storage import Store

MANIFEST = "manifest.json"
_Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardInfo(_Table):
    """One tar and its offset index, names relative to the shard set."""

    name: str
    """For example "train/000000.tar"; its index is "train/000000.idx"."""
    samples: _Count
    bytes: _Count
    sha256: str
    index_sha256: str

    @property
    def index(self) -> str:
        """Name of the offset index beside the tar."""
        return self.name.removesuffix(".tar") + ".idx"


class SplitInfo(_Table):
    """One split: its shards in order, and its label table."""

    samples: _Count
    table: str
    """For example "train/labels.parquet"."""
    table_sha256: str
    shards: tuple[ShardInfo, ...]


class Manifest(_Table):
    """Everything a reader needs to know before it opens a tar."""

    format: Literal["retdm-shards"] = "retdm-shards"
    version: Literal[2] = 2
    name: str
    labels: tuple[str, ...]
    splits: dict[str, SplitInfo]
    source: dict[str, Any]
    """The resolved shard spec; no clocks, no host names, no absolute paths."""

    @property
    def label_space(self) -> LabelSpace:
        """The labels in column order."""
        return LabelSpace(self.labels)

    def to_bytes(self) -> bytes:
        """The file's exact content; equal manifests give equal bytes.

        Its last field is the SHA-256 of all others, so that a reader notices wrong bytes.
        """
        content = self.model_dump_json(indent=1)
        checksum = hashlib.sha256(content.encode()).hexdigest()
        return f'{content[:-2]},\n "checksum": "{checksum}"\n}}\n'.encode()

    @property
    def digest(self) -> str:
        """SHA-256 of the file: names the data set in plans, checkpoints and results."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def split(self, name: str, *, url: str, setting: str = "--split NAME") -> SplitInfo:
        """The split called `name`, which `setting` chose.

        Raises:
            ShardError: If there is none; lists those there are.
        """
        if name not in self.splits:
            have = ", ".join(sorted(self.splits))
            raise ShardError(
                f"{url}: no split {name!r}; this shard set has: {have}; choose one of them by "
                f"{setting}"
            )
        return self.splits[name]

    def splits_of(self, data: DataSettings) -> tuple[SplitInfo, ...]:
        """The splits that a run reads: training, validation, test.

        Raises:
            ShardError: If one is missing; names its setting and those there are.
        """
        settings = ("train_split", "val_split", "test_split")
        return tuple(
            self.split(name, url=data.url, setting=f"--set data.{setting}=NAME")
            for setting, name in zip(settings, data.splits, strict=True)
        )


def load_manifest(store: Store) -> Manifest:
    """Read and check `manifest.json`.

    Raises:
        ShardError: If it is absent, not JSON, or of another format version.
    """
    try:
        return read_verified(
            store, MANIFEST, lambda content: _parse(content, f"{store.url}/{MANIFEST}")
        )
    except NotFoundError:
        raise ShardError(
            f"{store.url}: no {MANIFEST}, so there is no finished shard set here; "
            "check the URL, or build it with `python -m retdm.shard build SPEC --source DIR "
            f"--out {store.url}`"
        ) from None


def _parse(content: bytes, where: str) -> Manifest:
    try:
        table = parse_json(content)
        if isinstance(table, dict):
            table.pop("checksum", None)
        manifest = Manifest.model_validate(table)
        whole = manifest.to_bytes()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ShardError(f"{where}: {field}: {first['msg']}; rebuild the shard set") from None
    except ValueError as error:
        raise ShardError(f"{where}: not JSON ({error}); rebuild the shard set") from None
    if whole != content:
        raise ShardError(
            f"{where}: its content does not agree with its checksum, so it was changed or damaged "
            "after it was built; upload it again or rebuild the shard set"
        )
    return manifest
