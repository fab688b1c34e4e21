"""The usual crops of torchvision, for the loaders that leave cropping to it."""

import argparse
from typing import Any

import torch
from torchvision.transforms import v2


def crops(given: argparse.Namespace, *, tensors: bool = False) -> Any:
    """Random crops and mirroring of PIL images (of tensors, if so).

    Of the ways, "resize" first makes the short side 8/7 of the crop, and crops a square then.
    """
    if "resize" in given.way:
        cut: list[Any] = [v2.Resize(given.size * 8 // 7), v2.RandomCrop(given.size)]
    else:
        cut = [v2.RandomResizedCrop(given.size)]
    as_tensor = [] if tensors else [v2.PILToTensor()]
    as_float = [v2.ToDtype(torch.float32, scale=True)] if given.float else []
    return v2.Compose([*cut, v2.RandomHorizontalFlip(), *as_tensor, *as_float])
