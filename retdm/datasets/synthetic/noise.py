"""Smooth random textures: clouds, rock, grass and waves are all made of them."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.floating[Any]]


def fractal(
    rng: np.random.Generator, height: int, width: int, *, cells: float = 4, octaves: int = 4
) -> Floats:
    """Sum of smooth noises, each twice as fine and half as strong as the one before.

    Args:
        rng: Source of randomness.
        height: Rows of the result.
        width: Columns of the result.
        cells: Bumps of the coarsest noise along the longer side.
        octaves: Number of noises summed.

    Returns:
        Array of shape (height, width), stretched to fill [0, 1].
    """
    out = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        fine = cells * 2**octave
        rows = max(2, round(fine * height / max(height, width))) + 1
        columns = max(2, round(fine * width / max(height, width))) + 1
        grid = Image.fromarray(rng.random((rows, columns), dtype=np.float32))
        smooth = grid.resize((width, height), Image.Resampling.BICUBIC)
        out += np.asarray(smooth) * np.float32(0.5**octave)
    low, high = float(out.min()), float(out.max())
    return (out - low) / np.float32(max(high - low, 1e-6))


def ridge(rng: np.random.Generator, width: int, *, cells: float = 3, octaves: int = 5) -> Floats:
    """A jagged skyline: shape (width,), values in [0, 1]."""
    points = np.linspace(0, 1, width, dtype=np.float32)
    out = np.zeros(width, dtype=np.float32)
    for octave in range(octaves):
        knots = max(3, round(cells * 2**octave)) + 1
        out += np.interp(points, np.linspace(0, 1, knots), rng.random(knots)) * 0.5**octave
    spread = max(float(out.max() - out.min()), 1e-6)
    return np.asarray((out - out.min()) / spread, dtype=np.float32)


def on_the_ground(
    rng: np.random.Generator, height: int, width: int, horizon: float, *, scale: float
) -> Floats:
    """Noise laid on a flat ground seen in perspective: coarse in front, fine far away.

    Args:
        rng: Source of randomness.
        height: Rows of the picture.
        width: Columns of the picture.
        horizon: Row at infinite distance.
        scale: Width of the coarsest bump at the lower edge, as a share of the picture's.

    Returns:
        Array of shape (height, width) in [0, 1]; rows above the horizon have no meaning.
    """
    side = 128
    texture = fractal(rng, side, side, cells=16, octaves=3)
    texture = (texture + texture[::-1] + texture[:, ::-1] + texture[::-1, ::-1]) / 4  # tiles
    rows = np.arange(height, dtype=np.float32)[:, None]
    below = np.maximum(rows - horizon + 0.75, 0.75)
    distance = (height - horizon) / below
    columns = np.arange(width, dtype=np.float32)[None, :] / width - 0.5
    unit = side / 16 / scale
    u = (columns * distance * unit).astype(np.int64) % side
    v = np.broadcast_to((distance * unit).astype(np.int64) % side, u.shape)
    out = texture[v, u]
    # Bumps smaller than a pixel flicker; real cameras average them to an even tone.
    fade = np.clip(below / (0.12 * height), 0, 1)
    return np.asarray(0.5 + (out - 0.5) * 2 * fade, dtype=np.float32).clip(0, 1)
