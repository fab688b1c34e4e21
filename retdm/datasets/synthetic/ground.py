"""The lower half of a scene: mountains, fields, snow and sea."""

import numpy as np

from retdm.datasets.synthetic.canvas import Canvas, Colour
from retdm.datasets.synthetic.noise import Floats, fractal, on_the_ground, ridge

_ROCK: tuple[Colour, ...] = ((0.42, 0.4, 0.42), (0.45, 0.38, 0.32), (0.33, 0.38, 0.36))
_FIELD: tuple[Colour, ...] = ((0.33, 0.5, 0.18), (0.42, 0.46, 0.2), (0.62, 0.54, 0.28))
_WATER: tuple[Colour, ...] = ((0.05, 0.28, 0.42), (0.06, 0.36, 0.42), (0.1, 0.24, 0.36))


def paint_mountains(canvas: Canvas, *, snow: bool) -> None:
    """One to three ranges behind one another, the farther the paler; `snow`: white caps."""
    ranges = int(canvas.rng.integers(1, 4))
    rock = canvas.jitter(_ROCK[int(canvas.rng.integers(len(_ROCK)))])
    everything = np.zeros((canvas.height, canvas.width), dtype=np.float32)
    white = np.zeros_like(everything)
    rows = np.arange(canvas.height, dtype=np.float32)[:, None]
    for near in range(ranges):
        rise = canvas.horizon * canvas.uniform(0.3, 0.46) * (1 - 0.25 * near)
        skyline = ridge(canvas.rng, canvas.width, cells=canvas.uniform(2, 4))
        top = canvas.horizon - rise * (0.25 + 0.75 * skyline)
        mask = np.clip(rows - top[None, :] + 0.5, 0, 1)
        mask[int(canvas.horizon) + 1 :] = 0
        colour = _rock_face(canvas, rock)
        if snow:
            edge = fractal(canvas.rng, canvas.height, canvas.width, cells=14, octaves=3)
            height = (canvas.horizon - rows) / rise
            cap = np.clip((height - 0.36 - 0.35 * (edge - 0.5)) * 9, 0, 1)
            light = 0.8 + 0.2 * (colour.mean(-1, keepdims=True) / max(colour.max(), 0.05))
            colour += cap[..., None] * (np.array(canvas.lit((0.97, 0.98, 1))) * light - colour)
            white = np.maximum(white, cap * mask)
        haze = np.array(canvas.light.horizon) * 0.55 + np.array(canvas.light.middle) * 0.45
        far = 0.45 * (ranges - 1 - near) / max(ranges - 1, 1) + 0.12
        canvas.blend(mask, colour + far * (haze - colour))
        everything = np.maximum(everything, mask)
    canvas.note_mask("mountains", everything)
    if snow:
        canvas.note_mask("snow", white)


def _rock_face(canvas: Canvas, rock: Colour) -> Floats:
    """Rock with light from the left: bright where its surface turns that way."""
    relief = fractal(canvas.rng, canvas.height, canvas.width, cells=9, octaves=5)
    slope = np.gradient(relief, axis=1) * canvas.width / 14
    shade = np.clip(0.78 + slope, 0.35, 1.25)[..., None]
    return np.asarray(np.array(canvas.lit(rock)) * shade, dtype=np.float32)


def paint_field(canvas: Canvas, *, snow: bool) -> None:
    """Rolling ground of grass, stubble or snow."""
    rows = np.arange(canvas.height, dtype=np.float32)[:, None]
    colour = canvas.jitter(_FIELD[int(canvas.rng.integers(len(_FIELD)))], 0.04)
    base: Colour = (0.93, 0.95, 0.99) if snow else colour
    for layer in range(2):
        swell = ridge(canvas.rng, canvas.width, cells=2, octaves=1)
        lift = canvas.height * (0.035 if layer else 0.05)
        start = canvas.horizon + layer * canvas.uniform(0.1, 0.3) * (
            canvas.height - canvas.horizon
        )
        mask = np.clip(rows - (start - lift * swell)[None, :] + 0.5, 0, 1)
        grain = on_the_ground(canvas.rng, canvas.height, canvas.width, start - lift, scale=0.12)
        broad = on_the_ground(canvas.rng, canvas.height, canvas.width, start - lift, scale=0.9)
        depth = np.clip((rows - start) / (canvas.height - start), 0, 1)
        strength = 0.1 if snow else 0.5
        tone = 0.95 + strength * (grain - 0.5) + 0.5 * strength * (broad - 0.5) - 0.16 * depth
        tone *= 1 - 0.07 * layer
        haze = np.array(canvas.light.horizon)
        field = np.array(canvas.lit(base)) * tone[..., None]
        far = (0.25 * (1 - depth) ** 2)[..., None]
        canvas.blend(mask, field + far * (haze - field))
    if snow:
        low = np.zeros((canvas.height, canvas.width), dtype=np.float32)
        low[int(canvas.horizon) :] = 1
        canvas.note_mask("snow", low)


def paint_sea(canvas: Canvas, light_x: float | None) -> None:
    """Water with waves, the sky in it, and a path of glitter below the sun or moon.

    Args:
        canvas: Painted down to the horizon.
        light_x: Column of the sun or moon, if one is in the sky.
    """
    height, width = canvas.height, canvas.width
    rows = np.arange(height, dtype=np.float32)[:, None]
    depth = np.clip((rows - canvas.horizon) / (height - canvas.horizon), 0, 1)
    waves = on_the_ground(canvas.rng, height, width, canvas.horizon, scale=0.3)
    ripples = on_the_ground(canvas.rng, height, width, canvas.horizon, scale=0.08)
    swell = 0.55 * waves + 0.45 * ripples
    deep = np.array(canvas.lit(canvas.jitter(_WATER[int(canvas.rng.integers(3))], 0.03)))
    mirror = np.array(canvas.light.horizon) * 0.5 + np.array(canvas.light.middle) * 0.35
    share = np.clip(0.75 * (1 - depth) + 0.7 * (swell - 0.5), 0.05, 0.9)[..., None]
    colour = deep + share * (mirror - deep)
    if light_x is not None:
        columns = np.arange(width, dtype=np.float32)[None, :]
        spread = width * (0.03 + 0.16 * depth)
        path = np.exp(-(((columns - light_x) / spread) ** 2)) * np.clip((swell - 0.42) * 6, 0, 1)
        glint: Colour = (0.75, 0.8, 0.9) if canvas.light.name == "night" else (1.0, 0.9, 0.7)
        colour = colour + (0.8 * path)[..., None] * (np.array(glint) - colour)
    crest = (np.clip((swell - 0.8) * 7, 0, 0.6) * np.clip(depth * 2, 0, 1))[..., None]
    colour = colour + crest * (np.array(canvas.lit((0.9, 0.95, 0.97))) - colour)
    mask = np.broadcast_to(np.clip(rows - canvas.horizon + 0.5, 0, 1), (height, width)).copy()
    canvas.blend(mask, colour)
    if canvas.chance(0.35):
        mask *= 1 - _paint_beach(canvas)
    canvas.note_mask("sea", mask)


def _paint_beach(canvas: Canvas) -> Floats:
    """Sand along the lower edge with foam where it meets the water; returns its mask."""
    rows = np.arange(canvas.height, dtype=np.float32)[:, None]
    bay = ridge(canvas.rng, canvas.width, cells=1.5, octaves=2)
    tilt = np.linspace(canvas.uniform(-1, 1), canvas.uniform(-1, 1), canvas.width)
    shore = canvas.height * (0.86 + 0.05 * bay + 0.05 * tilt)
    sand = np.clip((rows - shore[None, :]) / 2 + 0.5, 0, 1).astype(np.float32)
    grain = on_the_ground(canvas.rng, canvas.height, canvas.width, canvas.horizon, scale=0.05)
    tone = np.array(canvas.lit((0.86, 0.76, 0.56))) * (0.88 + 0.24 * (grain[..., None] - 0.5))
    canvas.blend(sand, tone)
    foam = np.exp(-(((rows - shore[None, :]) / (0.012 * canvas.height)) ** 2))
    canvas.blend(0.8 * foam.astype(np.float32), canvas.lit((0.96, 0.97, 0.97)))
    return sand
