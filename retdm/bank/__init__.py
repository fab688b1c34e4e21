"""What training remembers: past embeddings, and which label sets exist."""

from retdm.bank.draw_columns import draw_columns
from retdm.bank.label_sets import LabelSets
from retdm.bank.nearest_images import nearest_images
from retdm.bank.neighbours import nearest_instances, nearest_label_sets
from retdm.bank.ring import Bank, BankRows, BankView, Drift

__all__ = [
    "Bank",
    "BankRows",
    "BankView",
    "Drift",
    "LabelSets",
    "draw_columns",
    "nearest_images",
    "nearest_instances",
    "nearest_label_sets",
]
