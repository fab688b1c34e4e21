"""A Parquet file that may come from anyone, read without filling the memory.

A few kilobytes can stand for billions of cells: repeated values and empty ones take no room in a
file. What a file may grow to is bounded by its own size; real tables of photos stay far below.
"""

import io

import pyarrow as pa
import pyarrow.parquet as pq

_BATCH_ROWS = 4096
_GROWTH = 64
"""Most bytes in memory for each of the file."""
_ALWAYS_BYTES = 64 << 20


def read_parquet(content: bytes) -> pa.Table:
    """The whole table, its text checked to be UTF-8.

    Raises:
        ValueError: If it is not a Parquet file, is damaged, or grows absurdly when read.
    """
    try:
        # use_threads=False: forking later with Arrow's thread pool alive can deadlock.
        with pq.ParquetFile(io.BytesIO(content)) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
            if rows > len(content):
                raise ValueError(f"it claims {rows} rows in {len(content)} bytes")
            batches, taken = [], 0
            for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
                batches.append(batch)
                taken += batch.nbytes
                if taken > _ALWAYS_BYTES + _GROWTH * len(content):
                    raise ValueError(f"its {len(content)} bytes grow to more than {taken}")
        table = pa.Table.from_batches(batches, schema)
        table.validate(full=True)  # lengths, offsets and UTF-8 of every column
    except (pa.ArrowException, OSError, OverflowError) as error:
        raise ValueError(str(error).partition("\n")[0]) from None
    return table
