"""The last step of every shard set: label tables, then the manifest of tars that are there."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from retdm.data.manifest import MANIFEST, Manifest, SplitInfo
from retdm.data.table import table_bytes
from retdm.shard.unfinished import PackedShard, Rows
from retdm.storage import Store


def describe(
    *,
    name: str,
    labels: tuple[str, ...],
    splits: Mapping[str, Sequence[PackedShard]],
    source: dict[str, Any],
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of packed tars, and the content of each label table by file name.

    Args:
        name: Of the data set.
        labels: Names in column order.
        splits: The tars of each split, in order.
        source: What the manifest says of where they come from.
    """
    infos: dict[str, SplitInfo] = {}
    tables: dict[str, bytes] = {}
    for split, packed in splits.items():
        file = f"{split}/labels.parquet"
        rows = [one.rows for one in packed]
        content = table_bytes(*(_joined(rows, column) for column in Rows.model_fields))
        infos[split] = SplitInfo(
            samples=sum(one.shard.samples for one in packed),
            table=file,
            table_sha256=hashlib.sha256(content).hexdigest(),
            shards=tuple(one.shard for one in packed),
        )
        tables[file] = content
    return Manifest(name=name, labels=labels, splits=infos, source=source), tables


def _joined(rows: Sequence[Rows], column: str) -> list[Any]:
    return [value for part in rows for value in getattr(part, column)]


def publish(store: Store, manifest: Manifest, tables: Mapping[str, bytes]) -> None:
    """Write tables and manifest beside tars and indexes that are at their place.

    The manifest comes last: from then on the shard set exists.

    Raises:
        StorageError: If `store` cannot be written.
    """
    for file, content in tables.items():
        store.write(file, content)
    store.write(MANIFEST, manifest.to_bytes())
