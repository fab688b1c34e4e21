"""The picture being painted: float pixels, a light, and the boxes of what was painted."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from retdm.datasets.synthetic.noise import Floats

Colour = tuple[float, float, float]
Box = tuple[float, float, float, float]
Point = tuple[float, float]
_FINER = 3


@dataclass(frozen=True, slots=True)
class Light:
    """Colours of one time of day, components in [0, 1]."""

    name: str
    zenith: Colour
    middle: Colour
    horizon: Colour
    ambient: Colour
    """What a white thing looks like."""


@dataclass(slots=True)
class Canvas:
    """Pixels of shape (height, width, 3) in [0, 1], painted back to front."""

    rng: np.random.Generator
    height: int
    width: int
    light: Light
    horizon: float
    """Row of the horizon."""
    pixels: Floats = field(init=False)
    boxes: list[tuple[str, Box]] = field(default_factory=list)
    """Label and box (left, top, width, height, in pixels) of everything painted."""

    def __post_init__(self) -> None:
        self.pixels = np.zeros((self.height, self.width, 3), dtype=np.float32)

    def uniform(self, low: float, high: float) -> float:
        """One number in [low, high)."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def jitter(self, colour: Colour, amount: float = 0.05) -> Colour:
        """A colour near `colour`."""
        red, green, blue = np.clip(self.rng.normal(colour, amount), 0, 1)
        return (float(red), float(green), float(blue))

    def lit(self, colour: Colour) -> Colour:
        """How a thing of this colour looks in the light of the scene."""
        red, green, blue = (c * a for c, a in zip(colour, self.light.ambient, strict=True))
        return (red, green, blue)

    def blend(self, mask: Floats, colour: npt.ArrayLike) -> None:
        """Lay `colour` (one, or one a pixel) over the picture where `mask` (0 to 1) says."""
        alpha = mask[..., None]
        self.pixels += alpha * (np.asarray(colour, dtype=np.float32) - self.pixels)

    def draw(self, paint: Callable[["Pen"], None]) -> Box | None:
        """Let `paint` draw with a smooth-edged pen; returns the box of what it drew."""
        pen = Pen(self)
        paint(pen)
        return pen.lay()

    def note(self, label: str, box: Box | None) -> None:
        """Remember that `label` is in the picture, if anything of it is."""
        if box is not None:
            self.boxes.append((label, box))

    def note_mask(self, label: str, mask: Floats) -> None:
        """Remember `label` with the box around `mask` > 0.25."""
        self.note(label, _box(mask > 0.25))


class Pen:
    """Draws polygons and ellipses on a finer layer, so that their edges are smooth."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        size = (canvas.width * _FINER, canvas.height * _FINER)
        self.layer = Image.new("RGBA", size, (0, 0, 0, 0))
        self.tool = ImageDraw.Draw(self.layer)

    def polygon(self, points: list[Point], colour: Colour) -> None:
        """Fill a polygon; points are (x, y) in canvas pixels."""
        self.tool.polygon([(x * _FINER, y * _FINER) for x, y in points], fill=_rgba(colour))

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill an ellipse around (x, y)."""
        box = [(x - rx) * _FINER, (y - ry) * _FINER, (x + rx) * _FINER, (y + ry) * _FINER]
        self.tool.ellipse(box, fill=_rgba(colour))

    def line(self, points: list[Point], colour: Colour, width: float) -> None:
        """Draw a line of `width` canvas pixels."""
        scaled = [(x * _FINER, y * _FINER) for x, y in points]
        self.tool.line(scaled, fill=_rgba(colour), width=max(1, round(width * _FINER)))

    def lay(self) -> Box | None:
        """Put the layer on the canvas and return its box."""
        area = self.layer.getbbox()
        if area is None:
            return None
        left, top = area[0] // _FINER, area[1] // _FINER
        right, low = -(-area[2] // _FINER), -(-area[3] // _FINER)
        cut = self.layer.crop((left * _FINER, top * _FINER, right * _FINER, low * _FINER))
        whole = cut.resize((right - left, low - top), Image.Resampling.BOX)
        values = np.asarray(whole, dtype=np.float32) / 255
        part = self.canvas.pixels[top:low, left:right]
        part += values[..., 3:] * (values[..., :3] - part)
        box = _box(values[..., 3] > 0.25)
        return box and (box[0] + left, box[1] + top, box[2], box[3])


def _rgba(colour: Colour) -> tuple[int, int, int, int]:
    red, green, blue = (int(255 * min(max(c, 0.0), 1.0)) for c in colour)
    return (red, green, blue, 255)


def _box(mask: npt.NDArray[np.bool_]) -> Box | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    left, top = float(columns[0]), float(rows[0])
    return (left, top, float(columns[-1]) + 1 - left, float(rows[-1]) + 1 - top)
