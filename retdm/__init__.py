"""Distributed training of multi-label image classifiers by two-way metric learning (RETDM)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retdm.predictor import load

__all__ = ["load"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, for which most parts of the package need not wait.
    if name == "load":
        from retdm.predictor import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
