"""The paper's result tables (published.toml), under the true names of their columns.

The printed headings mislead. What shows it, for the rows BCE, CL, RETDM and RETDM (one-way):

- Precision, recall and Hamming loss are tied: with c labels an image out of C,
  H = c/C ((1 - R) + R (1/P - 1)). In scene the test split has 506 labels on 400 images (the CL
  row, below). O-P .892 and O-R .877 of RETDM are then 444 hits and 54 false alarms, H = (62 +
  54) / 2000 = .0580; BCE's .898 and .869 are 440 and 50, H = .0580 too. Both print .0580 under
  "ranking loss", and .12 to .13 under "hamming loss". So "ranking loss" is the Hamming loss.
- "hamming loss", "coverage", "one error" and "average precision" are then the ranking metrics of
  LAMDA's MATLAB functions, given 0/1 predictions instead of scores (`retdm.evaluation.toolbox`).
  The scene CL row shows it: 506 positives among 400 images, one class predicted, TP 72, FP 11
  give Hamming .2225, O-P .867, O-R .142, C-P .973 (a label never predicted has precision 1) and a
  one-error of .0275, all as printed. A one-error of .0275 at O-R .142 is impossible for scores.
- C-F1 is the harmonic mean of C-P and C-R, but the mean of the labels' own F1 in the CL rows.
- The rows CNN-Softmax, CNN-WARP and CNN-RNN of COCO are those of the CNN-RNN paper. The first two
  name three labels for every image, CNN-RNN up to three: O-R * cardinality / O-P is 2.98, 2.96
  and 2.78 labels an image.
- LMMO-kNN, MLSPL and C2AE are no targets: `why_not` says for each what contradicts what.
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

_RENAMED = ("hamming loss", "ranking loss", "coverage", "one error", "average precision")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One method's row."""

    method: str
    protocol: str
    """One of "thresholded", "thresholded-mean-f1", "top3", "up-to-3" and "unclear"."""

    printed: Mapping[str, float]
    """Printed column name to printed value."""

    values: Mapping[str, float]
    """Metric name of `retdm.evaluation.evaluate` to corrected value; empty for unclear rows."""

    metrics: Mapping[str, str]
    """Printed column name to the metric name that is the same; empty for unclear rows."""

    corrections: tuple[str, ...]
    """One phrase for each value that differs from the printed one."""

    predicted: str
    """Which labels the row's figures are of; "" for unclear rows."""

    why_not: str
    """Why no value is a target to compare with; "" for a row that has some."""


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One data set's table."""

    title: str
    rows: tuple[PublishedRow, ...]

    def row(self, method: str) -> PublishedRow | None:
        """The row of `method`, or None if the paper has none."""
        return next((r for r in self.rows if r.method == method), None)


def published_table(dataset: str) -> PublishedTable | None:
    """The paper's table for a data set, or None if it has none.

    Only names of the full data sets match (case, "-" and "_" aside): the numbers of a subset,
    say coco3k, are not comparable.

    Example:
        >>> row = published_table("MIRFLICKR-25k").row("RETDM")
        >>> row.printed["ranking loss"], row.values["hamming_loss"]
        (0.0659, 0.0659)
    """
    return _tables().get(_plain(dataset))


def printed_names() -> dict[str, str]:
    """Metric name to the heading it has in the paper, for those whose heading misleads.

    Example:
        >>> printed_names()["hamming_loss"]
        'ranking loss'
    """
    meaning = _content()["meaning"]["thresholded"]
    return {name: column for column in _RENAMED for name in meaning[column]}


def paper_name(method: str) -> str:
    """The name that the paper's tables give to one of our methods; "" if they lack it.

    Example:
        >>> paper_name("center"), paper_name("asl")
        ('CL', '')
    """
    return str(_content()["methods"].get(method, ""))


def target_notes(table: PublishedTable, *, but: Collection[str] = ()) -> list[str]:
    """Which rows can be compared with, and why the others cannot: one line for each reason.

    Args:
        table: The table.
        but: Rows to leave out.

    Example:
        >>> print(target_notes(published_table("scene"))[0])
        CL: usable as targets (labels over the threshold; C-F1 is the mean of the labels' own F1)
    """
    alike: dict[str, list[str]] = {}
    rows = [row for row in table.rows if row.method not in but]
    for row in sorted(rows, key=lambda row: bool(row.why_not)):
        usable = f"usable as targets ({row.predicted})"
        said = f"no targets ({row.why_not})" if row.why_not else usable
        alike.setdefault(said, []).append(row.method)
    return [f"{', '.join(methods)}: {said}" for said, methods in alike.items()]


@cache
def _content() -> dict[str, Any]:
    source = files("retdm.evaluation").joinpath("published.toml")
    return tomllib.loads(source.read_text(encoding="utf-8"))


@cache
def _tables() -> dict[str, PublishedTable]:
    out: dict[str, PublishedTable] = {}
    for entry in _content()["tables"].values():
        rows = tuple(_row(row, entry["corrections"]) for row in entry["rows"])
        table = PublishedTable(entry["title"], rows)
        out |= {_plain(name): table for name in entry["names"]}
    return out


def _row(row: dict[str, Any], corrections: list[dict[str, Any]]) -> PublishedRow:
    content = _content()
    own = [c for c in corrections if c["method"] == row["method"]]
    # Rows of the CNN-RNN paper are shorter: the paper leaves their last columns empty.
    printed: dict[str, float] = dict(zip(content["columns"], row["printed"], strict=False))
    corrected = printed | {c["column"]: float(c["value"]) for c in own}
    meaning: dict[str, list[str]] = content["meaning"][row["protocol"]]
    return PublishedRow(
        method=row["method"],
        protocol=row["protocol"],
        printed=printed,
        values={name: corrected[column] for column, names in meaning.items() for name in names},
        metrics={column: names[0] for column, names in meaning.items()},
        corrections=tuple(f"{c['column']}: {c['reason']}" for c in own),
        predicted=content["predicted"][row["protocol"]] if meaning else "",
        why_not="" if meaning else content["why_not"][row["method"]],
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
