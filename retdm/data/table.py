"""The label table of one split: keys, labels and image digests of all its samples.

A Parquet file whose rows stand in the order of the samples in the shards. It is small (tens of
bytes a sample), so it is read whole: order, labels and counts are known before any tar is.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from retdm.errors import ShardError

_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field(
            "labels", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False
        ),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The samples of one split, row by row."""

    keys: tuple[str, ...]
    targets: npt.NDArray[np.bool_]
    """Multi-hot, shape (samples, labels)."""
    sha256: tuple[str, ...]
    """Of the stored image bytes, 64 hex digits."""
    widths: npt.NDArray[np.int32]
    """Pixels, as stored."""
    heights: npt.NDArray[np.int32]

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.keys)


def table_bytes(
    keys: Sequence[str],
    labels: Sequence[Sequence[int]],
    sha256: Sequence[str],
    widths: Sequence[int],
    heights: Sequence[int],
) -> bytes:
    """The Parquet file of these rows; equal rows give equal bytes.

    Args:
        keys: Sample keys in shard order.
        labels: Label columns of each sample; written in ascending order.
        sha256: Digest of each stored image, hex.
        widths: Pixels.
        heights: Pixels.
    """
    columns = [list(keys), [sorted(row) for row in labels], list(sha256), widths, heights]
    arrays = [pa.array(c, type=f.type) for c, f in zip(columns, _SCHEMA, strict=True)]
    out = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=_SCHEMA),
        out,
        compression="zstd",
        compression_level=9,
        use_dictionary=False,
        store_schema=False,
        row_group_size=1 << 16,
    )
    return out.getvalue()


def read_table(content: bytes, *, labels: int, name: str) -> LabelTable:
    """Read a label table back and check every row.

    Args:
        content: The Parquet file.
        labels: Size of the label space.
        name: File name that opens the error.

    Raises:
        ShardError: If it is not such a table, or a row has a label outside the label space,
            labels out of order, a repeated key, or a digest or size that cannot be.
    """
    try:
        # use_threads=False: forking later with Arrow's thread pool alive can deadlock.
        table = pq.read_table(io.BytesIO(content), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise ShardError(f"{name}: not a Parquet file ({first}); rebuild the shard set") from None
    have = {field.name: field.type for field in table.schema}
    for field in _SCHEMA:
        if have.get(field.name) != field.type and not _same_list(have.get(field.name), field.type):
            found = have.get(field.name, "absent")
            raise ShardError(
                f"{name}: column {field.name!r} is {found}, wanted {field.type}; rebuild the "
                "shard set"
            )
        if table.column(field.name).null_count:
            raise ShardError(f"{name}: column {field.name!r} has empty cells; rebuild it")
    keys = tuple(table.column("key").to_pylist())
    digests = tuple(table.column("sha256").to_pylist())
    widths = table.column("width").to_numpy()
    heights = table.column("height").to_numpy()
    targets = _targets(table.column("labels").combine_chunks(), keys, labels, name)
    if len(set(keys)) != len(keys):
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ShardError(f"{name}: key {twice!r} is listed twice; rebuild the shard set")
    for row, digest in enumerate(digests):
        if len(digest) != 64 or widths[row] < 1 or heights[row] < 1:
            raise ShardError(
                f"{name}: sample {keys[row]!r} has digest {digest!r} and size "
                f"{widths[row]}x{heights[row]}, which cannot be; rebuild the shard set"
            )
    return LabelTable(keys, targets, digests, widths, heights)


def _same_list(found: pa.DataType | None, wanted: pa.DataType) -> bool:
    """Whether both are lists of the same type; Parquet does not keep the element's name."""
    if found is None or not pa.types.is_list(found) or not pa.types.is_list(wanted):
        return False
    return bool(found.value_type == wanted.value_type)


def _targets(
    column: pa.Array, keys: tuple[str, ...], labels: int, name: str
) -> npt.NDArray[np.bool_]:
    """Scatter the lists into a multi-hot matrix."""
    if column.flatten().null_count:
        raise ShardError(f"{name}: column 'labels' has empty cells; rebuild it")
    lengths = np.diff(column.offsets.to_numpy())
    rows = np.repeat(np.arange(len(keys)), lengths)
    values = column.flatten().to_numpy()
    outside = (values < 0) | (values >= labels)
    if outside.any():
        at = int(outside.argmax())
        raise ShardError(
            f"{name}: sample {keys[rows[at]]!r} has label {values[at]}, but the label space has "
            f"{labels} labels (0 to {labels - 1}); rebuild the shard set"
        )
    disorder = (np.diff(values) <= 0) & (np.diff(rows) == 0)
    if disorder.any():
        key = keys[rows[int(disorder.argmax())]]
        raise ShardError(
            f"{name}: labels of sample {key!r} are not in ascending order; rebuild the shard set"
        )
    targets = np.zeros((len(keys), labels), dtype=np.bool_)
    targets[rows, values] = True
    return targets
