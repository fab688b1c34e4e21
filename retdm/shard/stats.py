"""What is in a shard set, from its manifest and label tables alone."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from retdm.data.manifest import Manifest, SplitInfo, load_manifest
from retdm.data.table import read_table
from retdm.errors import ShardError
from retdm.shard.local import stored_bytes
from retdm.storage import Store, open_store


def stats(url: str) -> dict[str, Any]:
    """Counts of the shard set at `url`.

    Returns:
        "labels" (names in column order), "splits" and "total". An entry has "samples",
        "shards", "bytes" (of the tars), "cardinality" (mean labels of a photo), "label_sets"
        (different rows of labels), "unlabelled" (photos of none) and "label_counts" by name.

    Raises:
        ShardError: If there is no shard set, or a table is not the one of the manifest.
        StorageError: If the place cannot be read.
    """
    store = open_store(url)
    manifest = load_manifest(store)
    targets = {name: _targets(store, manifest, split) for name, split in manifest.splits.items()}
    return {
        "name": manifest.name,
        "digest": manifest.digest,
        "labels": list(manifest.labels),
        "splits": {
            name: _counts(manifest, [split], targets[name])
            for name, split in manifest.splits.items()
        },
        "total": _counts(
            manifest, list(manifest.splits.values()), np.concatenate(list(targets.values()))
        ),
    }


def _targets(store: Store, manifest: Manifest, split: SplitInfo) -> npt.NDArray[np.bool_]:
    content = stored_bytes(store, split.table, sha256=split.table_sha256)
    digest = hashlib.sha256(content).hexdigest()
    if digest != split.table_sha256:
        raise ShardError(
            f"{store.url}/{split.table}: sha256 is {digest[:12]}..., the manifest says "
            f"{split.table_sha256[:12]}...; build the shard set again"
        )
    return read_table(content, labels=len(manifest.labels), name=split.table).targets


def _counts(
    manifest: Manifest, splits: list[SplitInfo], targets: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    shards = [shard for split in splits for shard in split.shards]
    totals = targets.sum(0)
    return {
        "samples": len(targets),
        "shards": len(shards),
        "bytes": sum(shard.bytes for shard in shards),
        "cardinality": float(targets.sum(1).mean()),
        "label_sets": len(np.unique(targets, axis=0)),
        "unlabelled": int((~targets.any(1)).sum()),
        "label_counts": {n: int(c) for n, c in zip(manifest.labels, totals, strict=True)},
    }


def summary(manifest: Manifest, *, url: str, tars: str, took_s: float) -> str:
    """What was made of a data set at `url`: a line for each split, and what it is as a whole.

    Args:
        manifest: Of the set.
        url: As the user gave it.
        tars: What one of its tars is called.
        took_s: Seconds.
    """
    lines = []
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards) / 2**20
        count = f"{len(split.shards)} {tars}{'s' * (len(split.shards) > 1)}"
        lines.append(f"{name}: {split.samples} photos in {count}, {size:.1f} MiB")
    lines.append(f"{url}: {manifest.name}, {len(manifest.labels)} labels, {took_s:.1f} s")
    return "\n".join([*lines, f"digest {manifest.digest}"])


def render(values: dict[str, Any]) -> str:
    """The same as a text table for people."""
    splits = {**values["splits"], "total": values["total"]}
    head = f"{'':12}" + "".join(f"{name:>12}" for name in splits)
    lines = [f"{values['name']}  {values['digest'][:16]}", head]
    for field in ("samples", "shards", "bytes", "cardinality", "label_sets", "unlabelled"):
        cells = [entry[field] for entry in splits.values()]
        shown = [f"{c:>12.4f}" if isinstance(c, float) else f"{c:>12,}" for c in cells]
        lines.append(f"{field:12}" + "".join(shown))
    lines.append("photos that show")
    width = max(12, *(len(name) + 2 for name in values["labels"]))
    for label in values["labels"]:
        counts = "".join(f"{entry['label_counts'][label]:>12,}" for entry in splits.values())
        lines.append(f"  {label:{width - 2}}" + counts)
    return "\n".join(lines)
