"""Readers: annotation files and photos in, one list of records out."""

from retdm.datasets.record import Dataset, Record
from retdm.datasets.registry import READERS, read_dataset
from retdm.datasets.splits import SplitOptions, assign_splits

__all__ = ["READERS", "Dataset", "Record", "SplitOptions", "assign_splits", "read_dataset"]
