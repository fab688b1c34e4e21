"""Which labels a scene has, and the order in which it is painted.

Labels hang together as they do in photos: stars and a moon need night, a boat needs the sea,
snow mostly lies on mountains, houses, trees and flowers need land. About 2.3 labels an image.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from retdm.datasets.synthetic import ground, sky, things
from retdm.datasets.synthetic.canvas import Box, Canvas

LABELS = (
    *("sunset", "sun", "moon", "stars", "clouds", "mountains"),
    *("snow", "sea", "boat", "tree", "house", "flowers"),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """The outcome of all the dice: a time of day and the labels to paint."""

    light: str
    """A key of `sky.LIGHTS`."""
    labels: frozenset[str]


def draw_scene(rng: np.random.Generator) -> Scene:
    """Throw the dice for one scene."""
    light = str(rng.choice(["day", "sunset", "night"], p=[0.62, 0.17, 0.21]))
    labels: set[str] = set()

    def maybe(label: str, probability: float) -> bool:
        if rng.random() < probability:
            labels.add(label)
        return label in labels

    maybe("sunset", float(light == "sunset"))
    clouds = maybe("clouds", {"day": 0.28, "sunset": 0.34, "night": 0.1}[light])
    maybe("sun", {"day": 0.25, "sunset": 0.5, "night": 0.0}[light])
    night = light == "night"
    maybe("moon", 0.65 * night)
    maybe("stars", 0.8 * (night and not clouds))
    sea = maybe("sea", 0.26)
    mountains = maybe("mountains", 0.2 if sea else 0.26)
    snow = maybe("snow", 0.42 if mountains else 0.0 if sea else 0.1)
    maybe("boat", 0.58 * sea)
    maybe("tree", 0.0 if sea else 0.36)
    maybe("house", 0.0 if sea else 0.27)
    maybe("flowers", 0.0 if sea or snow or night else 0.33)
    return Scene(light, frozenset(labels))


def render(
    scene: Scene, rng: np.random.Generator, *, size: int
) -> tuple[Image.Image, list[tuple[str, Box]]]:
    """Paint a scene.

    Args:
        scene: What to paint.
        rng: Source of all shapes and colours.
        size: Longer side, pixels.

    Returns:
        The picture, and label and box (left, top, width, height) of each thing in it.
    """
    ratio = float(rng.choice([4 / 3, 3 / 2, 1.0, 3 / 4], p=[0.45, 0.3, 0.1, 0.15]))
    width, height = (size, round(size / ratio)) if ratio >= 1 else (round(size * ratio), size)
    canvas = Canvas(rng, height, width, sky.LIGHTS[scene.light], height * rng.uniform(0.45, 0.62))
    has = scene.labels.__contains__
    sky.paint_sky(canvas)
    if has("sunset"):
        canvas.note("sunset", (0.0, 0.0, float(width), float(round(canvas.horizon))))
    if has("stars"):
        sky.paint_stars(canvas)
    lamp = None
    if has("sun") or has("moon"):
        lamp = sky.place_in_sky(canvas, low=has("sunset") and not has("mountains"))
        (sky.paint_sun if has("sun") else sky.paint_moon)(canvas, *lamp)
    if has("clouds"):
        sky.paint_clouds(canvas, lamp)
    if has("mountains"):
        ground.paint_mountains(canvas, snow=has("snow"))
    if has("sea"):
        ground.paint_sea(canvas, lamp[0] if lamp else None)
        _boats(canvas, count=int(rng.integers(1, 4)) if has("boat") else 0)
    else:
        ground.paint_field(canvas, snow=has("snow") and not has("mountains"))
        _stand(canvas, scene)
    return _develop(canvas), canvas.boxes


def _boats(canvas: Canvas, *, count: int) -> None:
    room = canvas.height - canvas.horizon
    for depth in sorted(canvas.uniform(0.12, 0.6) for _ in range(count)):
        x = canvas.uniform(0.12, 0.88) * canvas.width
        things.paint_boat(
            canvas, x, canvas.horizon + room * depth, canvas.width * (0.1 + 0.3 * depth)
        )


def _stand(canvas: Canvas, scene: Scene) -> None:
    """Flowers first, then trees and houses from the far to the near."""
    if "flowers" in scene.labels:
        things.paint_flowers(canvas)
    room = canvas.height - canvas.horizon
    rng = canvas.rng
    trees = int(rng.integers(1, 7)) if "tree" in scene.labels else 0
    houses = int(rng.integers(1, 3)) if "house" in scene.labels else 0
    spots = [("tree", canvas.uniform(0.05, 0.75)) for _ in range(trees)]
    spots += [("house", canvas.uniform(0.1, 0.55)) for _ in range(houses)]
    for kind, depth in sorted(spots, key=lambda spot: spot[1]):
        x = canvas.uniform(0.06, 0.94) * canvas.width
        base = canvas.horizon + room * depth
        if kind == "tree":
            size = canvas.height * (0.16 + 0.55 * depth) * canvas.uniform(0.8, 1.15)
            things.paint_tree(canvas, x, base, size, snow="snow" in scene.labels)
        else:
            things.paint_house(canvas, x, base, canvas.width * (0.16 + 0.34 * depth))


def _develop(canvas: Canvas) -> Image.Image:
    """What a camera adds: exposure, colour cast, vignette, grain and a little blur."""
    rows = np.linspace(-1, 1, canvas.height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, canvas.width, dtype=np.float32)[None, :]
    vignette = 1 - canvas.uniform(0, 0.22) * (rows**2 + columns**2) / 2
    cast = canvas.rng.normal(1.0, 0.03, 3) * canvas.uniform(0.88, 1.12)
    pixels = canvas.pixels * vignette[..., None] * cast.astype(np.float32)
    grain = canvas.rng.normal(0, canvas.uniform(0.003, 0.014), pixels.shape[:2])
    pixels = np.clip(pixels + grain[..., None].astype(np.float32), 0, 1)
    image = Image.fromarray((pixels * 255 + 0.5).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(canvas.uniform(0.2, 0.6)))
