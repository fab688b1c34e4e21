"""The upper half of a scene: gradient, stars, sun, moon and clouds."""

import numpy as np

from retdm.datasets.synthetic.canvas import Canvas, Colour, Light
from retdm.datasets.synthetic.noise import Floats, fractal

LIGHTS = {
    "day": Light("day", (0.2, 0.43, 0.8), (0.45, 0.67, 0.92), (0.78, 0.88, 0.95), (1, 1, 0.97)),
    "sunset": Light(
        *("sunset", (0.22, 0.24, 0.45), (0.72, 0.4, 0.45), (1.0, 0.68, 0.32)), (0.72, 0.5, 0.44)
    ),
    "night": Light(
        *("night", (0.015, 0.025, 0.08), (0.04, 0.06, 0.16), (0.1, 0.13, 0.26)), (0.2, 0.24, 0.38)
    ),
}


def paint_sky(canvas: Canvas) -> None:
    """Fill the whole canvas with the sky's gradient."""
    light = canvas.light
    stops = [canvas.jitter(c, 0.03) for c in (light.zenith, light.middle, light.horizon)]
    rows = np.linspace(0, 1, canvas.height, dtype=np.float32) * canvas.height / canvas.horizon
    bend = canvas.uniform(0.45, 0.7)
    columns = [np.interp(rows, [0, bend, 1], [stop[c] for stop in stops]) for c in range(3)]
    canvas.pixels[:] = np.stack(columns, axis=-1)[:, None, :]
    haze = fractal(canvas.rng, canvas.height, canvas.width, cells=2, octaves=2)
    canvas.pixels *= 1 + 0.06 * (haze[..., None] - 0.5)


def paint_stars(canvas: Canvas) -> None:
    """Scatter points of different brightness over a dark sky."""
    count = int(canvas.uniform(60, 140))
    glow = np.zeros((canvas.height, canvas.width), dtype=np.float32)
    size = max(1, round(canvas.width / 110))
    for _ in range(count):
        x = int(canvas.uniform(0, canvas.width - size))
        y = int(canvas.uniform(0, canvas.horizon * 0.92))
        glow[y : y + size, x : x + size] = canvas.uniform(0.35, 1.0)
    canvas.blend(glow, (0.95, 0.96, 1.0))
    canvas.note("stars", (0.0, 0.0, float(canvas.width), float(round(canvas.horizon * 0.92))))


def place_in_sky(canvas: Canvas, *, low: bool) -> tuple[float, float]:
    """A point (x, y) of the sky that no mountain reaches; `low`: near the horizon."""
    top, bottom = (0.55, 0.8) if low else (0.14, 0.42)
    x = canvas.uniform(0.14, 0.86) * canvas.width
    return x, canvas.uniform(top, bottom) * canvas.horizon


def paint_sun(canvas: Canvas, x: float, y: float) -> None:
    """A bright disc and the glow around it."""
    low = canvas.light.name == "sunset"
    radius = canvas.width * canvas.uniform(0.045, 0.075)
    colour: Colour = (1.0, 0.86, 0.5) if low else (1.0, 0.99, 0.9)
    away = _distance(canvas, x, y) / radius
    canvas.blend(0.75 * np.exp(-np.maximum(away - 1, 0) / 1.6), colour)
    disc = np.clip((1 - away) * radius + 0.5, 0, 1)
    canvas.blend(disc, (1.0, 0.95, 0.75) if low else (1.0, 1.0, 0.96))
    canvas.note_mask("sun", disc)


def paint_moon(canvas: Canvas, x: float, y: float) -> None:
    """A disc with dark spots, or a crescent."""
    radius = canvas.width * canvas.uniform(0.045, 0.075)
    away = _distance(canvas, x, y) / radius
    canvas.blend(0.3 * np.exp(-np.maximum(away - 1, 0) / 1.2), (0.6, 0.65, 0.8))
    disc = np.clip((1 - away) * radius + 0.5, 0, 1)
    if canvas.chance(0.45):
        side = 0.65 if canvas.chance(0.5) else -0.65
        shadow = _distance(canvas, x + side * radius, y - 0.15 * radius) / radius
        disc *= 1 - np.clip((1 - shadow) * radius + 0.5, 0, 1)
    spots = fractal(canvas.rng, canvas.height, canvas.width, cells=40, octaves=2)
    tone = (0.82 + 0.18 * spots)[..., None] * np.array((1.0, 0.98, 0.9), dtype=np.float32)
    canvas.blend(disc, tone)
    canvas.note_mask("moon", disc)


def paint_clouds(canvas: Canvas, sun: tuple[float, float] | None) -> None:
    """Banks of cloud, flat and dense towards the horizon; thinner before `sun`."""
    rows = int(canvas.horizon)
    shape = fractal(canvas.rng, rows * 2, canvas.width, cells=canvas.uniform(3, 5), octaves=5)
    # Clouds overhead look tall and those far away flat: squeeze the rows towards the horizon.
    depth = np.linspace(0, 1, rows) ** 0.7
    shape = shape[(depth * (rows * 2 - 1)).astype(np.int64)]
    cover = canvas.uniform(0.46, 0.56)
    body = np.clip((shape - cover) / 0.16, 0, 1)
    body *= np.clip((1 - np.linspace(0, 1, rows, dtype=np.float32)[:, None]) / 0.12, 0, 1)
    under = np.roll(shape, -max(1, rows // 18), axis=0)
    top_light = np.clip(0.62 + 2.2 * (shape - under), 0.3, 1)[..., None]
    white = np.array(canvas.jitter(_CLOUD[canvas.light.name], 0.02), dtype=np.float32)
    shade = np.array(_CLOUD_SHADE[canvas.light.name], dtype=np.float32)
    mask = np.zeros((canvas.height, canvas.width), dtype=np.float32)
    mask[:rows] = body * 0.93
    if sun:
        mask *= 1 - 0.8 * np.exp(-((_distance(canvas, *sun) / (0.1 * canvas.width)) ** 2))
    colour = np.zeros((canvas.height, canvas.width, 3), dtype=np.float32)
    colour[:rows] = shade + top_light * (white - shade)
    canvas.blend(mask, colour)
    canvas.note_mask("clouds", mask)


_CLOUD: dict[str, Colour] = {
    "day": (0.98, 0.98, 0.98),
    "sunset": (1.0, 0.66, 0.5),
    "night": (0.24, 0.26, 0.36),
}
_CLOUD_SHADE: dict[str, Colour] = {
    "day": (0.55, 0.6, 0.7),
    "sunset": (0.36, 0.26, 0.38),
    "night": (0.07, 0.08, 0.14),
}


def _distance(canvas: Canvas, x: float, y: float) -> Floats:
    rows = np.arange(canvas.height, dtype=np.float32)[:, None] - np.float32(y)
    columns = np.arange(canvas.width, dtype=np.float32)[None, :] - np.float32(x)
    return np.asarray(np.hypot(rows, columns))
