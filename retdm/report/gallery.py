"""Photos of a split with their true and predicted labels: where a run does best, and worst."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from retdm.config import DataSettings
from retdm.data.image_files import DAMAGE, open_image
from retdm.data.source import SampleReader
from retdm.data.split import SplitData
from retdm.errors import BadSampleError
from retdm.evaluation.inputs import Scores, Targets
from retdm.report.score_figures import Scored

STYLE = """
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(160px, 45%), 1fr));
  gap: 1rem; padding: 0; margin: .6rem 0; list-style: none; }
.gallery img { width: 100%; aspect-ratio: 4 / 3; object-fit: contain; background: var(--line);
  border-radius: 4px; display: block; }
.gallery li { font-size: .82rem; line-height: 1.35; break-inside: avoid; }
.gallery p { margin: .25rem 0 0; } .wrong { color: var(--bad); }
"""
_SIDE, _QUALITY = 240, 78


@dataclass(frozen=True, slots=True)
class Photo:
    """A small copy of a photo; `src` is empty, and `why` not, if it cannot be shown."""

    src: str
    why: str = ""


def cross_entropy(scores: Scores, targets: Targets) -> npt.NDArray[np.float64]:
    """Of each image, the mean over labels of -log of the score of what is true; 0 is best.

    Scores are kept 1e-7 away from 0 and 1, so that none is infinite.

    Example:
        >>> cross_entropy(np.array([[1.0, 0.5]]), np.array([[True, False]])).round(4).tolist()
        [0.3466]
    """
    sure = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    entropy: npt.NDArray[np.float64] = -np.log(np.where(targets, sure, 1 - sure)).mean(axis=1)
    return entropy


def gallery(
    one: Scored, data: SplitData, settings: DataSettings, rows: npt.NDArray[np.int64], *, each: int
) -> str:
    """HTML of the best and the worst photos, at most `each` of either kind.

    Args:
        one: The scores.
        data: The split whose photos they are of.
        settings: How storage is read.
        rows: Of each scored image in the label table.
        each: Photos of a kind.
    """
    reader = SampleReader(data, settings.model_copy(update={"read": "ranges"}), window=1)
    loss = cross_entropy(one.scores, one.targets)
    order = np.argsort(loss, kind="stable")
    each = min(each, len(order) // 2)
    kinds = {"Best": order[:each], "Worst": order[::-1][:each]}
    parts = []
    for kind, chosen in kinds.items():
        photos = _photos(reader, [int(rows[at]) for at in chosen])
        cards = "".join(
            _card(one, int(at), photo, data.table.keys[int(rows[at])], float(loss[at]))
            for at, photo in zip(chosen, photos, strict=True)
        )
        parts.append(f"<h3>{kind} photos of {escape(one.name)}</h3><ul class=gallery>{cards}</ul>")
    return "".join(parts)


def _photos(reader: SampleReader, rows: Sequence[int]) -> list[Photo]:
    out = []
    for content in reader.read_each(rows):
        if isinstance(content, BadSampleError):
            out.append(Photo("", str(content)))
            continue
        out.append(thumbnail(content))
    return out


def thumbnail(content: bytes) -> Photo:
    """A small JPEG without what else the file says (place, camera), as a data URL."""
    try:
        with open_image(content) as image:
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))  # a large JPEG is decoded at a part of it
            small = image.convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
        small.info.clear()  # Pillow would write a JPEG's comment into the copy
        out = io.BytesIO()
        small.save(out, "JPEG", quality=_QUALITY, optimize=True)
    except DAMAGE as error:
        return Photo("", f"cannot be decoded ({error})")
    return Photo(f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}")


def _card(one: Scored, at: int, photo: Photo, key: str, loss: float) -> str:
    scores, targets = one.scores[at], one.targets[at]
    predicted = scores >= one.threshold
    shown = [
        (
            _words("true", one.labels, scores, targets & predicted),
            "",
        ),
        (_words("missed", one.labels, scores, targets & ~predicted), "wrong"),
        (_words("wrongly predicted", one.labels, scores, ~targets & predicted), "wrong"),
    ]
    said = [(text, kind) for text, kind in shown if text]
    if not said:
        said = [("no label, none predicted", "")]
    lines = "".join(
        f"<p{f' class={kind}' if kind else ''}>{escape(text)}</p>" for text, kind in said
    )
    alt = escape(f"Photo {key}; {'; '.join(text for text, _ in said)}")
    picture = (
        f'<img src="{photo.src}" alt="{alt}">'
        if photo.src
        else f"<p class=wrong>Photo {escape(key)}: {escape(photo.why)}</p>"
    )
    return f"<li>{picture}{lines}<p class=note>{escape(key)} · {loss:.3f}</p></li>"


def _words(
    kind: str,
    labels: Sequence[str],
    scores: npt.NDArray[np.floating],
    chosen: npt.NDArray[np.bool_],
) -> str:
    """Those labels with their scores, the highest first; "" without any."""
    order = [int(at) for at in np.argsort(-scores, kind="stable") if chosen[at]]
    listed = ", ".join(f"{labels[at]} {scores[at]:.2f}" for at in order)
    return f"{kind}: {listed}" if listed else ""
