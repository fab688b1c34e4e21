"""A table as plain cells, before it becomes Markdown or HTML."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Cell:
    """Text, whether it stands out, what stands behind it in brackets, whether it is a sentence."""

    text: str
    bold: bool = False
    detail: str = ""
    prose: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A heading, rows of cells under column heads, and notes; the first cell names its row."""

    title: str
    head: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
