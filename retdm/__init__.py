"""Distributed training of multi-label image classifiers by two-way metric learning (RETDM)."""

__version__ = "0.2.0"
