"""The label table of one split: key, labels, digest and place of each image.

A Parquet file whose rows stand in the order of the samples in the shards. It is small (about a
hundred bytes a sample), so it is read whole: order, labels, counts and offsets are known before
any tar or index is, however many there are.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retdm.errors import ShardError
from retdm.parquet_input import read_parquet

_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field(
            "labels", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False
        ),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
    ]
)


class Keys(Sequence[str]):
    """The keys of a split, in Arrow's memory: a fraction of what Python strings take."""

    def __init__(self, column: pa.StringArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            values: list[str] = self._column[row].to_pylist()
            return values
        # int(): Arrow refuses numpy's whole numbers.
        value: str = self._column[int(row)].as_py()
        return value


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The samples of one split, row by row."""

    keys: Keys
    targets: npt.NDArray[np.bool_]
    """Multi-hot, shape (samples, labels)."""
    digests: npt.NDArray[np.uint8]
    """SHA-256 of the stored image bytes, shape (samples, 32)."""
    widths: npt.NDArray[np.int32]
    """Pixels, as stored."""
    heights: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    """Of the image's first byte in its tar."""
    sizes: npt.NDArray[np.int64]
    """Of the image, in bytes."""

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.keys)

    def digest(self, row: int) -> bytes:
        """SHA-256 of the stored image bytes of one sample."""
        return bytes(self.digests[row])

    def part(self, start: int, stop: int) -> "LabelTable":
        """Rows `start` to `stop` - 1; fewer if the table is shorter."""
        rows = slice(start, stop)
        return LabelTable(
            # A copy: a slice of Arrow's would take the whole column along to another process.
            Keys(pa.array(self.keys[rows], type=pa.string())),
            self.targets[rows],
            self.digests[rows],
            self.widths[rows],
            self.heights[rows],
            self.offsets[rows],
            self.sizes[rows],
        )


def table_bytes(
    keys: Sequence[str],
    labels: Sequence[Sequence[int]],
    sha256: Sequence[str],
    widths: Sequence[int],
    heights: Sequence[int],
    offsets: Sequence[int],
    sizes: Sequence[int],
) -> bytes:
    """The Parquet file of these rows; equal rows give equal bytes.

    Args:
        keys: Sample keys in shard order.
        labels: Label columns of each sample; written in ascending order.
        sha256: Digest of each stored image, hex.
        widths: Pixels.
        heights: Pixels.
        offsets: Where each image begins in its tar, bytes.
        sizes: Of each image, bytes.
    """
    ordered = [sorted(row) for row in labels]
    columns = [list(keys), ordered, list(sha256), widths, heights, offsets, sizes]
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
            labels out of order, a repeated key, or a digest, size or place that cannot be.
    """
    try:
        table = read_parquet(content)
    except ValueError as error:
        raise ShardError(f"{name}: not a Parquet file ({error}); rebuild the shard set") from None
    have = {field.name: field.type for field in table.schema}
    for field in _SCHEMA:
        if have.get(field.name) != field.type and not _same_list(have.get(field.name), field.type):
            found = have.get(field.name, "absent")
            raise ShardError(
                f"{name}: column {field.name!r} is {found}, wanted {field.type}; rebuild the "
                "shard set"
            )
        if table.column_names.count(field.name) > 1:
            raise ShardError(f"{name}: column {field.name!r} is there twice; rebuild it")
        if table.column(field.name).null_count:
            raise ShardError(f"{name}: column {field.name!r} has empty cells; rebuild it")
    column = {field.name: table.column(field.name).combine_chunks() for field in _SCHEMA}
    keys = Keys(column["key"])
    numbers = {n: column[n].to_numpy() for n in ("width", "height", "offset", "size")}
    _check_keys(column["key"], name)
    _check_numbers(numbers, keys, name)
    return LabelTable(
        keys,
        _targets(column["labels"], keys, labels, name),
        _digests(column["sha256"], keys, name),
        numbers["width"],
        numbers["height"],
        numbers["offset"],
        numbers["size"],
    )


def _check_keys(column: pa.StringArray, name: str) -> None:
    counts = column.value_counts()
    twice = pc.greater(counts.field("counts"), 1)
    if pc.any(twice).as_py():
        key = counts.field("values").filter(twice)[0].as_py()
        raise ShardError(f"{name}: key {key!r} is listed twice; rebuild the shard set")


def _check_numbers(numbers: dict[str, npt.NDArray[np.int64]], keys: Keys, name: str) -> None:
    for field, least in (("width", 1), ("height", 1), ("offset", 0), ("size", 0)):
        wrong = numbers[field] < least
        if wrong.any():
            row = int(wrong.argmax())
            raise ShardError(
                f"{name}: sample {keys[row]!r} has {field} {numbers[field][row]}, which cannot "
                "be; rebuild the shard set"
            )


def _digests(column: pa.StringArray, keys: Keys, name: str) -> npt.NDArray[np.uint8]:
    """Hex digits to bytes, all rows at once."""
    good = pc.match_substring_regex(column, "^[0-9a-f]{64}$").to_numpy(zero_copy_only=False)
    if not good.all():
        row = int(good.argmin())
        raise ShardError(
            f"{name}: sample {keys[row]!r} has sha256 {column[row].as_py()!r}, wanted 64 hex "
            "digits; rebuild the shard set"
        )
    content = bytes.fromhex("".join(column.to_pylist()))
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, 32)


def _same_list(found: pa.DataType | None, wanted: pa.DataType) -> bool:
    """Whether both are lists of the same type; Parquet does not keep the element's name."""
    if found is None or not pa.types.is_list(found) or not pa.types.is_list(wanted):
        return False
    return bool(found.value_type == wanted.value_type)


def _targets(column: pa.Array, keys: Keys, labels: int, name: str) -> npt.NDArray[np.bool_]:
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
