import io
import pickle
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retdm.data.table import read_table, table_bytes
from retdm.errors import ShardError

DIGEST = "0f" * 32


def _table(
    labels: Sequence[Sequence[int]] = ((2, 0), (), (1,)),
    keys: Sequence[str] = ("a", "b", "c"),
    digest: str = DIGEST,
    width: int = 4,
    size: int = 9,
) -> bytes:
    n = len(keys)
    places = range(512, 512 + n)
    return table_bytes(keys, labels, [digest] * n, [width] * n, [3] * n, places, [size] * n)


def test_rows_are_read_back_in_order() -> None:
    table = read_table(_table(), labels=3, name="t")
    assert list(table.keys) == ["a", "b", "c"]
    assert (table.keys[1], table.keys[1:]) == ("b", ["b", "c"])
    assert table.targets.tolist() == [[True, False, True], [False] * 3, [False, True, False]]
    assert table.digest(2) == bytes.fromhex(DIGEST)
    assert (table.widths.tolist(), table.heights.tolist()) == ([4] * 3, [3] * 3)
    assert (table.offsets.tolist(), table.sizes.tolist()) == ([512, 513, 514], [9] * 3)


def test_a_part_is_a_table_of_those_rows_and_no_more() -> None:
    table = read_table(_table(), labels=3, name="t")
    part = table.part(1, 9)
    assert (len(part), list(part.keys)) == (2, ["b", "c"])
    assert part.targets.tolist() == table.targets[1:].tolist()
    assert part.offsets.tolist() == [513, 514]
    many = read_table(
        _table([()] * 9999, [f"key-{i:09}" for i in range(9999)]), labels=3, name="t"
    )
    assert len(pickle.dumps(many.part(5, 7))) < 3000


def test_equal_rows_give_equal_bytes() -> None:
    assert _table() == _table()


def test_targets_equal_a_loop_over_many_rows() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.random((500, 20)) < 0.2
    keys = [f"k{i}" for i in range(500)]
    content = _table([np.flatnonzero(row).tolist() for row in wanted], keys)
    assert (read_table(content, labels=20, name="t").targets == wanted).all()


def test_an_empty_table_is_possible() -> None:
    assert read_table(_table((), ()), labels=3, name="t").targets.shape == (0, 3)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"t: not a Parquet file"),
        (_table()[:-9], r"t: not a Parquet file"),
        (_table(((3,), (), ())), r"sample 'a' has label 3, but the label space has 3 labels"),
        (_table(((), (-1,), ())), r"sample 'b' has label -1"),
        (_table(((), (1, 1), ())), r"labels of sample 'b' are not in ascending order"),
        (_table(keys=("a", "b", "a")), r"t: key 'a' is listed twice"),
        (_table(digest="abc"), r"sample 'a' has sha256 'abc', wanted 64 hex digits"),
        (_table(digest=" f" * 32), r"sample 'a' has sha256 .*, wanted 64 hex digits"),
        (_table(width=0), r"sample 'a' has width 0, which cannot be"),
        (_table(size=-1), r"sample 'a' has size -1, which cannot be"),
    ],
)
def test_damage_is_named(content: bytes, message: str) -> None:
    with pytest.raises(ShardError, match=message):
        read_table(content, labels=3, name="t")


def _parquet(**columns: pa.Array) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def test_text_that_is_no_text_is_an_error() -> None:
    whole = pq.read_table(io.BytesIO(_table()))
    keys = pa.array([b"a", b"\xff", b"c"], pa.binary()).view(pa.string())
    out = io.BytesIO()
    pq.write_table(whole.set_column(0, "key", keys), out)
    with pytest.raises(ShardError, match=r"t: not a Parquet file \(.*Invalid UTF8 sequence"):
        read_table(out.getvalue(), labels=3, name="t")


def test_missing_and_empty_columns_are_named() -> None:
    with pytest.raises(ShardError, match="t: column 'key' is absent, wanted string"):
        read_table(_parquet(x=pa.array([1])), labels=3, name="t")
    with pytest.raises(ShardError, match="t: column 'key' has empty cells"):
        read_table(_parquet(key=pa.array([None], pa.string())), labels=3, name="t")
    with pytest.raises(ShardError, match=r"column 'labels' is string, wanted list<.*int32"):
        read_table(_parquet(key=pa.array(["a"]), labels=pa.array(["1"])), labels=3, name="t")


def test_a_column_that_is_there_twice_is_named() -> None:
    whole = pq.read_table(io.BytesIO(_table()))
    out = io.BytesIO()
    pq.write_table(whole.append_column("size", whole.column("size")), out)
    with pytest.raises(ShardError, match="t: column 'size' is there twice"):
        read_table(out.getvalue(), labels=3, name="t")
