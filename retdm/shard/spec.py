"""The shard spec: which reader, which splits, which pixels, how large the tars (shards/*.toml)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from retdm.config import Settings, apply_overrides, parse, read_toml
from retdm.datasets.registry import parse_options
from retdm.datasets.splits import SplitOptions
from retdm.shard.fetch_options import ArchiveOptions

Check = Literal["structure", "decode"]


class ResizeOptions(Settings):
    """Whether photos are stored smaller than they are (`resize.*`)."""

    short_side: int = Field(
        default=0,
        ge=0,
        description="Larger photos are reduced to this and stored as JPEG; 0: bytes untouched",
    )
    quality: int = Field(default=92, ge=1, le=95, description="Of the JPEGs written")


class TarOptions(Settings):
    """Where one tar ends and the next begins (`shards.*`)."""

    bytes: int = Field(default=64 * 2**20, ge=1, description="Size of a tar; at least one photo")
    samples: int = Field(default=10_000, ge=1, description="Most photos in a tar")


class ShardSpec(Settings):
    """Everything that decides the bytes of a shard set, besides the source."""

    name: str = Field(min_length=1, description="Of the data set, shown in reports")
    reader: str = Field(description='"coco", "mirflickr", "table" or "synthetic"')
    options: dict[str, Any] = Field(default={}, description="Of the reader; see retdm/datasets")
    split: SplitOptions = SplitOptions()
    check: Check = Field(
        default="structure",
        exclude=True,  # it changes no byte of the set, so neither its digest
        description='Of every photo: "structure" sees that the file is whole; "decode" also '
        "decodes every pixel, which takes much longer",
    )
    resize: ResizeOptions = ResizeOptions()
    shards: TarOptions = TarOptions()
    # Where the source comes from does not decide the bytes, so the manifest does not have it.
    fetch: tuple[ArchiveOptions, ...] = Field(default=(), exclude=True)


def load_spec(path: str | Path, overrides: Iterable[str] = ()) -> tuple[ShardSpec, Settings]:
    """Read a spec file and lay the overrides (`a.b=c`) over it.

    Returns:
        The spec, its `options` complete with defaults; and the same options, parsed.

    Raises:
        ConfigError: If the file, the reader's name or any setting is wrong.
    """
    table = apply_overrides(read_toml(path), overrides)
    spec = parse(ShardSpec, table, source=str(path))
    options = parse_options(spec.reader, spec.options, where=str(path))
    return spec.model_copy(update={"options": options.model_dump(mode="json")}), options
