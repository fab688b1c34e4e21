"""The readers by name, and how a spec's options reach them."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from retdm.config import Settings, parse
from retdm.datasets.coco import CocoOptions, read_coco
from retdm.datasets.files import source_folder
from retdm.datasets.mirflickr import MirflickrOptions, read_mirflickr
from retdm.datasets.record import Dataset
from retdm.datasets.synthetic.reader import SyntheticOptions, read_synthetic
from retdm.datasets.table import TableOptions, read_table
from retdm.errors import ConfigError

Options = TypeVar("Options", bound=Settings)


@dataclass(frozen=True, slots=True)
class Reader(Generic[Options]):
    """One kind of source: its options and the function that reads it."""

    options: type[Options]
    read: Callable[[Path, Options], Dataset]


READERS: dict[str, Reader[Any]] = {
    "coco": Reader(CocoOptions, read_coco),
    "mirflickr": Reader(MirflickrOptions, read_mirflickr),
    "table": Reader(TableOptions, read_table),
    "synthetic": Reader(SyntheticOptions, read_synthetic),
}


def parse_options(reader: str, table: Mapping[str, Any], *, where: str) -> Settings:
    """Validate the options of `reader`; `where` (the spec file) opens the error.

    Raises:
        ConfigError: If there is no such reader, or an option is wrong.
    """
    if reader not in READERS:
        near = difflib.get_close_matches(reader, READERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{where}: reader {reader!r} is unknown; there are {', '.join(READERS)}{hint}"
        )
    options: Settings = parse(READERS[reader].options, table, source=f"{where}: options")
    return options


def read_dataset(reader: str, options: Settings, source: Path) -> Dataset:
    """Read the data set under the folder `source`.

    Args:
        reader: A name in `READERS`.
        options: From `parse_options` for the same reader.
        source: Folder of the data set.

    Raises:
        DatasetError: If the folder, an annotation or a photo is missing or wrong.
    """
    dataset: Dataset = READERS[reader].read(source_folder(source), options)
    return dataset
