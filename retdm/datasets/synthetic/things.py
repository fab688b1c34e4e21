"""What stands on the ground or floats on the sea: trees, houses, flowers, boats."""

import numpy as np

from retdm.datasets.synthetic.canvas import Canvas, Colour, Pen, Point

_LEAVES: tuple[Colour, ...] = ((0.2, 0.4, 0.13), (0.3, 0.45, 0.14), (0.6, 0.38, 0.12))
_WALLS: tuple[Colour, ...] = ((0.88, 0.84, 0.74), (0.7, 0.36, 0.28), (0.78, 0.68, 0.5))
_ROOFS: tuple[Colour, ...] = ((0.55, 0.24, 0.18), (0.36, 0.3, 0.3), (0.42, 0.28, 0.2))
_PETALS: tuple[Colour, ...] = (
    *((0.92, 0.2, 0.22), (0.98, 0.84, 0.15), (0.93, 0.5, 0.75)),
    *((0.62, 0.3, 0.8), (0.98, 0.97, 0.95), (0.98, 0.55, 0.12)),
)
_HULLS: tuple[Colour, ...] = ((0.9, 0.9, 0.9), (0.6, 0.18, 0.16), (0.18, 0.25, 0.42))


def times(colour: Colour, factor: float) -> Colour:
    """A darker or brighter colour."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def paint_tree(canvas: Canvas, x: float, base: float, size: float, *, snow: bool) -> None:
    """A tree of height `size` whose trunk meets the ground at (x, base)."""
    fir = snow or canvas.chance(0.35)
    kind = 0 if fir else int(canvas.rng.choice(3, p=[0.5, 0.35, 0.15]))
    leaf = canvas.jitter(_LEAVES[kind], 0.03)
    _shadow(canvas, x, base, size * 0.3)

    def paint(pen: Pen) -> None:
        bark = canvas.lit((0.32, 0.22, 0.14))
        half = size * 0.035
        top = base - size * 0.55
        pen.polygon(
            [(x - half, base), (x + half, base), (x + half * 0.6, top), (x - half * 0.6, top)],
            bark,
        )
        if fir:
            _fir(canvas, pen, x, base, size, times(leaf, 0.75), snow=snow)
        else:
            _crown(canvas, pen, x, base, size, leaf)

    canvas.note("tree", canvas.draw(paint))


def _fir(
    canvas: Canvas, pen: Pen, x: float, base: float, size: float, leaf: Colour, *, snow: bool
) -> None:
    tiers = 5
    for tier in range(tiers):
        low = base - size * (0.12 + 0.15 * tier)
        high = base - size * min(1.0, 0.42 + 0.15 * tier)
        reach = size * 0.3 * (1 - 0.16 * tier) * canvas.uniform(0.9, 1.1)
        tone = canvas.lit(times(leaf, 0.75 + 0.1 * tier))
        fringe = [
            (x + reach * s, low + size * 0.03 * canvas.uniform(-1, 1))
            for s in np.linspace(-1, 1, 7)
        ]
        pen.polygon([*fringe, (x, high)], tone)
        if snow:
            tip = [(x - reach * 0.55, low - size * 0.1), (x + reach * 0.3, low - size * 0.12)]
            pen.polygon([*tip, (x, high)], canvas.lit((0.93, 0.95, 0.99)))


def _crown(canvas: Canvas, pen: Pen, x: float, base: float, size: float, leaf: Colour) -> None:
    wide = size * canvas.uniform(0.26, 0.36)
    tall = size * canvas.uniform(0.28, 0.34)
    middle = base - size + tall
    clumps = 90
    for step in range(clumps):
        angle, away = canvas.uniform(0, 2 * np.pi), np.sqrt(canvas.uniform(0, 1))
        dx, dy = np.cos(angle) * away, np.sin(angle) * away
        # Later clumps lie in front; light comes from the upper left.
        bright = 0.55 + 0.5 * step / clumps - 0.22 * dy - 0.12 * dx + canvas.uniform(-0.08, 0.08)
        r = size * canvas.uniform(0.03, 0.075)
        spot = canvas.lit(times(leaf, bright))
        pen.ellipse(x + dx * wide, middle + dy * tall, r, r * 0.8, spot)


def paint_house(canvas: Canvas, x: float, base: float, size: float) -> None:
    """A house of width `size`: front with a gable, and one side in the shade."""
    wall = canvas.jitter(_WALLS[int(canvas.rng.integers(3))], 0.03)
    roof = canvas.jitter(_ROOFS[int(canvas.rng.integers(3))], 0.03)
    facing = 1 if canvas.chance(0.5) else -1
    front, side = size * 0.45, size * 0.55 * facing
    tall, gable = size * canvas.uniform(0.34, 0.46), size * canvas.uniform(0.2, 0.3)
    recede = size * 0.05
    glow = canvas.light.name != "day"
    pane: Colour = (1.0, 0.85, 0.45) if glow else canvas.lit((0.25, 0.33, 0.42))
    _shadow(canvas, x + side / 4, base, size * 0.55)

    def paint(pen: Pen) -> None:
        left, right = x - facing * front / 2, x + facing * front / 2
        far = right + side
        eave = base - tall
        ridge_y = eave - gable
        over = size * 0.03 * facing
        wall_far = [(far, base - recede), (far, eave)]
        pen.polygon([(right, base), *wall_far, (right, eave)], canvas.lit(times(wall, 0.72)))
        pen.polygon(
            [(left, base), (right, base), (right, eave), (x, ridge_y), (left, eave)],
            canvas.lit(wall),
        )
        _chimney(pen, canvas, x + side * 0.5, ridge_y, size)
        slope = [(x, ridge_y), (x + side, ridge_y + recede * 0.4)]
        pen.polygon([*slope, (far + over, eave + recede * 0.3), (right, eave)], canvas.lit(roof))
        edge = canvas.lit(times(roof, 0.7))
        pen.line(
            [(left - over, eave + size * 0.02), (x, ridge_y), (right, eave)], edge, size * 0.03
        )
        door = canvas.lit((0.32, 0.2, 0.13))
        _rectangle(pen, x, base - tall * 0.3, front * 0.22, tall * 0.6, door)
        for shift in (-0.3, 0.3):
            _rectangle(pen, x + front * shift, eave + tall * 0.3, front * 0.2, tall * 0.26, pane)
        _rectangle(pen, x, eave - gable * 0.25, front * 0.16, gable * 0.35, pane)
        for share in (0.3, 0.7):
            at = right + side * share
            _rectangle(pen, at, eave + tall * 0.38, size * 0.1, tall * 0.3, pane)

    canvas.note("house", canvas.draw(paint))


def _chimney(pen: Pen, canvas: Canvas, x: float, ridge_y: float, size: float) -> None:
    brick = canvas.lit((0.5, 0.28, 0.22))
    _rectangle(pen, x, ridge_y - size * 0.02, size * 0.07, size * 0.18, brick)


def _rectangle(pen: Pen, x: float, y: float, width: float, height: float, colour: Colour) -> None:
    left, right, top, low = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    pen.polygon([(left, top), (right, top), (right, low), (left, low)], colour)


def paint_flowers(canvas: Canvas) -> None:
    """Drifts of flowers in the foreground, larger towards the viewer."""
    kinds = canvas.rng.choice(len(_PETALS), size=int(canvas.rng.integers(1, 4)), replace=False)
    room = canvas.height - canvas.horizon
    count = int(canvas.uniform(70, 150))

    def paint(pen: Pen) -> None:
        depths = np.sort(canvas.rng.beta(2.0, 1.2, count)) * 0.8 + 0.2
        for depth in depths:
            x, y = canvas.uniform(0, canvas.width), canvas.horizon + room * float(depth)
            r = canvas.width * 0.016 * float(depth) * canvas.uniform(0.7, 1.25)
            stem = canvas.lit((0.18, 0.4, 0.12))
            pen.line([(x, y), (x + canvas.uniform(-r, r), y + 3 * r)], stem, r * 0.35)
            petal = canvas.lit(canvas.jitter(_PETALS[int(canvas.rng.choice(kinds))], 0.03))
            turn = canvas.uniform(0, np.pi)
            for part in range(5):
                angle = turn + part * 2 * np.pi / 5
                dx, dy = np.cos(angle) * r * 0.8, np.sin(angle) * r * 0.55
                pen.ellipse(x + dx, y + dy, r * 0.62, r * 0.5, petal)
            pen.ellipse(x, y, r * 0.4, r * 0.34, canvas.lit((0.95, 0.8, 0.2)))

    canvas.note("flowers", canvas.draw(paint))


def paint_boat(canvas: Canvas, x: float, base: float, size: float) -> None:
    """A sailing boat of length `size`, afloat at (x, base), and its reflection."""
    hull = canvas.jitter(_HULLS[int(canvas.rng.integers(3))], 0.03)
    sail: Colour = (0.96, 0.95, 0.9) if canvas.chance(0.75) else canvas.jitter((0.8, 0.3, 0.25))
    way = 1 if canvas.chance(0.5) else -1
    deep, mast = size * 0.16, size * canvas.uniform(0.9, 1.2)
    lean = size * 0.04 * way

    def shape(pen: Pen, up: float, dim: float) -> None:
        def at(dx: float, dy: float) -> Point:
            return (x + dx * way, base - dy * up)

        def tone(colour: Colour) -> Colour:
            return canvas.lit(times(colour, dim))

        hull_line = [at(-size / 2, deep), at(size * 0.56, deep * 1.15), at(size * 0.34, -deep / 3)]
        pen.polygon([*hull_line, at(-size * 0.4, -deep / 3)], tone(hull))
        pen.line([at(-size / 2, deep), at(size * 0.56, deep * 1.15)], tone((0.4, 0.3, 0.2)), 1)
        head = at(lean * way, mast)
        pen.line([at(0, deep), head], tone((0.35, 0.27, 0.2)), max(size * 0.025, 0.6))
        pen.polygon([head, at(-0.02 * size, deep * 1.6), at(-size * 0.45, deep * 1.6)], tone(sail))
        jib = [head, at(0.03 * size, deep * 1.5), at(size * 0.48, deep * 1.4)]
        pen.polygon(jib, tone(times(sail, 0.86)))

    before = canvas.pixels.copy()
    canvas.draw(lambda pen: shape(pen, -0.7, 0.7))
    # The mirror image is broken by waves: show it only in part.
    canvas.pixels = before + np.float32(0.38) * (canvas.pixels - before)
    canvas.note("boat", canvas.draw(lambda pen: shape(pen, 1.0, 1.0)))


def _shadow(canvas: Canvas, x: float, base: float, reach: float) -> None:
    rows = (np.arange(canvas.height, dtype=np.float32)[:, None] - np.float32(base)) / (
        reach * 0.22
    )
    columns = (
        np.arange(canvas.width, dtype=np.float32)[None, :] - np.float32(x + reach * 0.3)
    ) / (reach * 1.1)
    canvas.blend(0.42 * np.exp(-(rows**2 + columns**2)), (0.03, 0.04, 0.05))
