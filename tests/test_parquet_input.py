"""Parquet files that claim more than they hold."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retdm.parquet_input import read_parquet


def _written(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, store_schema=False, compression="zstd")
    return out.getvalue()


@pytest.mark.parametrize("rows", [0, 3, 10_000])
def test_a_table_is_read_whole(rows):
    table = pa.table({"path": [f"{n}.jpg" for n in range(rows)], "tags": [["a", "b"]] * rows})
    assert read_parquet(_written(table)).to_pylist() == table.to_pylist()


def test_more_rows_than_bytes_are_refused():
    content = _written(pa.table({"path": pa.nulls(1_000_000, pa.string())}))
    with pytest.raises(ValueError, match=rf"it claims 1000000 rows in {len(content)} bytes"):
        read_parquet(content)


def test_text_that_grows_a_thousandfold_is_refused():
    text = pa.array(["x" * (1 << 20)])
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int8()), text)
    content = _written(pa.table({"path": repeated}))
    with pytest.raises(ValueError, match=rf"its {len(content)} bytes grow to more than 1048"):
        read_parquet(content)
