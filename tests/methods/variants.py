"""What the contract of methods, and resuming, is tried on: every method in every reading."""

from retdm.methods import METHODS

VARIANTS: dict[str, tuple[str, ...]] = {name: (f"method={name}",) for name in METHODS} | {
    "center, multi hot": ("method=center", "center.reading=multi_hot"),
    "warp, sampled": ("method=warp", "warp.rank=sampled"),
    "cnn-rnn, sum": ("method=cnn-rnn", "cnn_rnn.reduction=sum"),
    "mlspl, hard": ("method=mlspl", "mlspl.pace=hard"),
}
"""By name, the settings that make it."""
