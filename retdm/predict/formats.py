"""Rows as JSON lines, CSV or Parquet; a file of a million rows takes little memory.

JSON lines have an object for each image: {"image", "labels", "scores": {LABEL: score}, "error"}.
The tables have the columns image, labels, error and one "score.LABEL" for each label; in CSV the
labels are joined by semicolons (where a label has one itself, take another format). Scores are
exact: read as 32-bit floats they are the network's.
What an image does not have is null, in CSV empty.
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retdm.predict.rows import Row

_GROUP_ROWS = 8192


class Writer(ABC):
    """Writes rows into a local file, one after the other."""

    @abstractmethod
    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        """Begin the file; `labels` are in the order of the scores."""

    @abstractmethod
    def write(self, row: Row) -> None:
        """Add a row."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file."""


class JsonLines(Writer):
    """A JSON object on each line."""

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self._labels = labels
        self._file = path.open("w", encoding="utf-8")

    def write(self, row: Row) -> None:
        """See `Writer`."""
        scores = row.scores
        given = None if scores is None else dict(zip(self._labels, scores.tolist(), strict=True))
        line = {"image": row.image, "labels": row.labels, "scores": given, "error": row.error}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")

    def close(self) -> None:
        """See `Writer`."""
        self._file.close()


class Csv(Writer):
    """A table with a header."""

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self._empty = [""] * len(labels)
        self._file = path.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self._csv.writerow(["image", "labels", "error", *_columns(labels)])

    def write(self, row: Row) -> None:
        """See `Writer`."""
        scores = self._empty if row.scores is None else row.scores.tolist()
        self._csv.writerow([row.image, ";".join(row.labels or ()), row.error, *scores])

    def close(self) -> None:
        """See `Writer`."""
        self._file.close()


class Parquet(Writer):
    """A table of strings, lists of strings and 32-bit floats."""

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        scores = [(name, pa.float32()) for name in _columns(labels)]
        text = pa.string()
        self._schema = pa.schema(
            [("image", text), ("labels", pa.list_(text)), ("error", text), *scores]
        )
        self._nothing = np.full(len(labels), np.nan, dtype=np.float32)
        self._file = pq.ParquetWriter(path, self._schema)
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        """See `Writer`."""
        self._rows.append(row)
        if len(self._rows) == _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """See `Writer`."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        missing = np.array([row.scores is None for row in rows])
        scores = np.stack([self._nothing if row.scores is None else row.scores for row in rows])
        columns = [
            pa.array([row.image for row in rows]),
            pa.array([row.labels for row in rows], pa.list_(pa.string())),
            pa.array([row.error for row in rows], pa.string()),
            *(pa.array(column, mask=missing) for column in scores.T),
        ]
        self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema))


def _columns(labels: Sequence[str]) -> list[str]:
    return [f"score.{label}" for label in labels]
