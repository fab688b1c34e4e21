"""A run's space: its map, neighbours of label sets, own and neighbouring distances."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from retdm.bank import LabelSets
from retdm.report.plotly_figure import INK, PALETTE, SOFT, Figure, Look, housed, label, points
from retdm.report.run_course import DASHES
from retdm.report.space import (
    Space,
    between,
    frequent_sets,
    hamming,
    own_and_neighbours,
    principal_plane,
    set_name,
)
from retdm.report.table import Cell, Table

_NAMED, _STARS = 5, 50
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")
_ROWS, _NEAREST = 8, 4
_BINS = 50
_LISTED = 6


def map_figure(space: Space, names: list[str], run: str) -> Figure:
    """Images and label sets on the plane in which they vary most."""
    title = f"Map of images and label sets of {run}" if space.common else f"Map of images of {run}"
    known = space.known
    rows = space.images if space.sets is None else torch.cat([space.images, space.sets])
    if len(rows) < 3:
        return Figure(title, "Not drawn: it needs three points.")
    places, (across, up) = principal_plane(rows)
    images, sets = places[: len(space.images)], places[len(space.images) :]
    order = frequent_sets(known)
    plot = go.Figure()
    others = torch.isin(known.set_id, order[:_NAMED], invert=True)
    _dots(plot, images[others], known, known.set_id[others], names, Look("others", SOFT, size=5))
    for number, chosen in enumerate(order[:_NAMED].tolist()):
        mine = known.set_id == chosen
        name = label(set_name(known.targets[chosen], names))
        look = Look(name, PALETTE[number], _SYMBOLS[number], 6)
        _dots(plot, images[mine], known, known.set_id[mine], names, look)
    starred = order[:_STARS].tolist() if len(sets) else []
    if starred:
        plot.add_trace(
            points(
                Look("label sets", INK, "star", 11),
                sets[starred, 0].numpy().round(4),
                sets[starred, 1].numpy().round(4),
                [label(f"label set {set_name(known.targets[at], names)}") for at in starred],
            )
        )
    housed(plot)
    plot.layout.legend.update(itemsizing="constant")
    plot.layout.xaxis.update(title={"text": f"first component, {across:.1%} of the variance"})
    plot.layout.yaxis.update(title={"text": f"second component, {up:.1%} of the variance"})
    stars = ""
    if starred:
        which = "the" if len(starred) == len(known) else f"the {len(starred)} most frequent"
        stars = f" Stars are {which} embedded label sets; an image should lie near its own."
    words = (
        f"{len(images)} images by the two principal components of all embeddings, which hold "
        f"{across + up:.1%} of their variance: what is apart here is apart, what is together here "
        f"need not be. Colours and signs are the {min(_NAMED, len(known))} most frequent label "
        f"sets.{stars}"
    )
    return Figure(title, words, plot, tall=True, rows=24)


def _dots(
    plot: go.Figure, at: Tensor, known: LabelSets, own: Tensor, names: list[str], look: Look
) -> None:
    if len(at):
        hover = [label(set_name(known.targets[number], names)) for number in own.tolist()]
        plot.add_trace(points(look, at[:, 0].numpy().round(4), at[:, 1].numpy().round(4), hover))


def distances_figure(space: Space, run: str, *, k: int) -> Figure:
    """Histograms of the distances that the two ways compare; the space has label sets."""
    title = f"Own and neighbouring distances of {run}"
    assert space.common is not None
    found = own_and_neighbours(space, k=k)
    if found is None:
        return Figure(title, "Not drawn: all images have one label set, so there is no neighbour.")
    kinds = {
        "image to its own label set": found.own,
        "way 1: image to neighbouring label sets": found.way1,
        "way 2: label set to images of neighbours": found.way2,
    }
    everything = torch.cat(list(kinds.values())).double()
    low, high = float(everything.min()), float(everything.max())
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    plot = go.Figure()
    for number, (name, values) in enumerate(kinds.items()):
        counts, _ = np.histogram(values.double().numpy(), edges)
        plot.add_trace(
            go.Scatter(
                x=edges.round(5),
                y=np.append(counts / len(values), 0).round(5),
                mode="lines",
                name=name,
                line={
                    "shape": "hv",
                    "color": PALETTE[number],
                    "width": 2,
                    "dash": DASHES[number],
                },
                hovertemplate="from %{x:.3f}: share %{y:.3f}<extra></extra>",
            )
        )
    housed(plot)
    plot.layout.xaxis.update(title={"text": space.common.name})
    plot.layout.yaxis.update(title={"text": "share of the pairs"})
    medians = [float(values.double().median()) for values in kinds.values()]
    words = (
        f"Each line is a histogram over {len(space.images)} images with {k} neighbours each. The "
        "own distances should lie to the left of both others. Medians: own "
        f"{medians[0]:.3f}, way 1 {medians[1]:.3f}, way 2 {medians[2]:.3f}; neighbours no further "
        f"than the own: {found.violated1:.1%} in way 1, {found.violated2:.1%} in way 2."
    )
    return Figure(title, words, plot)


def agreement_figure(space: Space, run: str) -> Figure:
    """Learned against Hamming distance of label sets, which the space has."""
    title = f"Learned distance of label sets by Hamming distance of {run}"
    assert space.common is not None
    assert space.sets is not None
    upper = torch.triu_indices(len(space.known), len(space.known), offset=1)
    if not upper.shape[1]:
        return Figure(title, "Not drawn: there is one label set only.")
    apart = hamming(space.known)[upper[0], upper[1]]
    learned = between(space.sets, space.sets, space.common)[upper[0], upper[1]].double()
    steps = np.unique(apart.numpy()).tolist()
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    boxes = np.array([np.quantile(learned[apart == step].numpy(), levels) for step in steps])
    plot = go.Figure(
        go.Box(
            x=steps,
            lowerfence=boxes[:, 0].round(5),
            q1=boxes[:, 1].round(5),
            median=boxes[:, 2].round(5),
            q3=boxes[:, 3].round(5),
            upperfence=boxes[:, 4].round(5),
            line={"color": PALETTE[0], "width": 1.6},
            name="",
            showlegend=False,
        )
    )
    housed(plot)
    plot.layout.xaxis.update(title={"text": "labels in which two label sets differ"}, dtick=1)
    plot.layout.yaxis.update(title={"text": space.common.name})
    shown = list(zip(steps, boxes, strict=True))[:_LISTED]
    medians = ", ".join(f"{step}: {box[2]:.3f}" for step, box in shown)
    words = (
        f"All pairs of the {len(space.known)} label sets of the sample: a box is the middle half "
        "of the pairs, its line the median, its whiskers the middle nine tenths. Boxes that rise "
        f"mean that the space orders label sets as Hamming distance does. Medians: {medians}."
    )
    return Figure(title, words, plot)


def neighbours_table(space: Space, names: list[str], run: str) -> Table | None:
    """The most frequent label sets of the space, which has some, and their nearest others."""
    assert space.common is not None
    assert space.sets is not None
    if len(space.known) < 2:
        return None
    known, apart = space.known, hamming(space.known)
    learned = between(space.sets, space.sets, space.common)
    counts = known.set_id.bincount(minlength=len(known))
    rows = []
    for own in frequent_sets(known)[:_ROWS].tolist():
        rest = torch.arange(len(known)) != own
        by_hamming = _nearest(apart[own], rest, counts)
        nearest = int(apart[own][rest].min())
        ties = int((apart[own][rest] == nearest).sum())
        by_learned = _nearest(learned[own], rest, counts)
        rows.append(
            [
                Cell(set_name(known.targets[own], names)),
                Cell(str(int(counts[own]))),
                Cell(_listed(by_hamming, known.targets, names, apart[own], "{:.0f}"), prose=True),
                Cell(str(ties)),
                Cell(
                    _listed(by_learned, known.targets, names, learned[own], "{:.3f}"), prose=True
                ),
            ]
        )
    head = ["label set", "images", "nearest by Hamming distance", "ties", "nearest by learning"]
    notes = [
        "The most frequent label sets of the sample, each with its nearest others and their "
        f"distances: Hamming (labels in which two differ), and the learned one of the embedded "
        f"label sets ({space.common.name}). Ties: how many share the smallest Hamming distance, "
        "among which the table shows those that are most frequent."
    ]
    return Table(f"Nearest neighbours of label sets of {run}", head, rows, notes)


def _nearest(distance: Tensor, rest: Tensor, counts: Tensor) -> list[int]:
    """The nearest of the rest, of equally near ones the most frequent."""
    order = np.lexsort((-counts.numpy(), distance.numpy()))
    return [int(at) for at in order if rest[at]][:_NEAREST]


def _listed(
    chosen: Sequence[int], targets: Tensor, names: list[str], distance: Tensor, form: str
) -> str:
    return "; ".join(
        f"{set_name(targets[at], names)} ({form.format(distance[at].item())})" for at in chosen
    )
