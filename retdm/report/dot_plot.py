"""A metric as a small SVG: one line for each column, one dot for each seed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

_PLOT, _RIGHT, _TOP, _ROW, _BOTTOM = 290, 24, 8, 24, 30
_GAP, _LETTER, _LONGEST = 12, 6.6, 22
_RADIUS = 4.0


@dataclass(frozen=True, slots=True)
class Dots:
    """One line of the plot."""

    name: str
    values: Mapping[str, float]
    """By seed."""
    published: float | None = None


def dot_plot(metric: str, lines: Sequence[Dots], *, baseline: str = "") -> str:
    """The SVG; a bar marks each mean, a diamond a published value, a dashed line the baseline.

    Colours come from the page's style, so that it can be light or dark. It is as wide as its
    names need, so that they stay readable where there is little room. Its description says the
    same in words.
    """
    dots = [v for line in lines for v in line.values.values()]
    reach = max(dots) - min(dots)
    # A published value far from all runs would press their dots into one.
    lines = [
        replace(line, published=None)
        if line.published is not None
        and not min(dots) - reach <= line.published <= max(dots) + reach
        else line
        for line in lines
    ]
    known = [*dots, *(line.published for line in lines if line.published is not None)]
    low, high, ticks = axis(min(known), max(known))
    height = _TOP + _ROW * len(lines) + _BOTTOM

    names = [_shown(line.name) for line in lines]
    left = 2 * _GAP + _LETTER * max(map(len, names))

    def x(value: float) -> float:
        return left + _PLOT * (value - low) / (high - low)

    bottom = _TOP + _ROW * len(lines)
    of = escape(", ".join(line.name for line in lines))
    parts = [
        f'<svg viewBox="0 0 {left + _PLOT + _RIGHT:.0f} {height}" role="img" '
        f'aria-label="{escape(metric)} of each seed of {of}" '
        f'aria-describedby="plot-{escape(metric)}">'
        f'<desc id="plot-{escape(metric)}">{escape(_described(lines, baseline))}</desc>'
    ]
    for tick, text in ticks:
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" y1="{_TOP}" x2="{x(tick):.1f}" '
            f'y2="{bottom}"/><text class="tick" x="{x(tick):.1f}" y="{bottom + 17}" '
            f'text-anchor="middle">{text}</text>'
        )
    for number, line in enumerate(lines):
        y = _TOP + _ROW * (number + 0.5)
        parts.append(
            f'<text class="name" x="{left - _GAP:.1f}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(names[number])}</text>"
        )
        parts += _marks(line, x, y)
        if line.name == baseline and line.values:
            at = x(math.fsum(line.values.values()) / len(line.values))
            parts.append(
                f'<line class="baseline" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{bottom}"/>'
            )
    return "".join([*parts, "</svg>"])


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _described(lines: Sequence[Dots], baseline: str) -> str:
    return "; ".join(_in_words(line, line.name == baseline) for line in lines) + "."


def _in_words(line: Dots, is_baseline: bool) -> str:
    values = list(line.values.values())
    said = [f"{line.name}{' (baseline)' if is_baseline else ''}:"]
    if values:
        said.append(f"mean {math.fsum(values) / len(values):.4f}")
        said.append(f"of {len(values)} from {min(values):.4f} to {max(values):.4f}")
    else:
        said.append("no run")
    if line.published is not None:
        said.append(f"(published {line.published:g})")
    return " ".join(said)


def _marks(line: Dots, x: Callable[[float], float], y: float) -> list[str]:
    parts = []
    for seed, value in line.values.items():
        parts.append(
            f'<circle class="dot" cx="{x(value):.1f}" cy="{y:.1f}" r="{_RADIUS}">'
            f"<title>{escape(line.name)}, seed {escape(seed)}: {value:.4f}</title></circle>"
        )
    if line.values:
        mean = math.fsum(line.values.values()) / len(line.values)
        parts.append(
            f'<line class="mean" x1="{x(mean):.1f}" y1="{y - 8:.1f}" x2="{x(mean):.1f}" '
            f'y2="{y + 8:.1f}"><title>{escape(line.name)}, mean: {mean:.4f}</title></line>'
        )
    if line.published is not None:
        at = x(line.published)
        parts.append(
            f'<path class="paper" d="M{at:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z">'
            f"<title>{escape(line.name)}, published: {line.published:g}</title></path>"
        )
    return parts


def axis(low: float, high: float) -> tuple[float, float, list[tuple[float, str]]]:
    """Ends of an axis around the values, and about four round ticks on it.

    Example:
        >>> axis(0.91, 0.93)[2]
        [(0.91, '0.91'), (0.915, '0.915'), (0.92, '0.92'), (0.925, '0.925'), (0.93, '0.93')]
    """
    span = max(high - low, 1e-3 * max(abs(high), abs(low)), 1e-6)
    low, high = low - 0.05 * span, high + 0.05 * span
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * m for m in (1, 2, 5, 10) if power * m * 5 >= high - low)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step), math.floor(high / step)
    marks = [round(i * step, decimals) for i in range(first, last + 1)]
    return low, high, [(mark, f"{mark:g}") for mark in marks]
