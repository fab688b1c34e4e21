"""Beam search over sequences of labels, for all images of a batch at once.

Shapes: batch = images, width = paths kept for each, labels = columns of the label space,
outcomes = labels and, last, END; rows = batch * width paths, image by image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

State = tuple[Tensor, ...]
"""Of a recurrent network: tensors with one row for each path."""
Step = Callable[[Int64[Tensor, " rows"], State], tuple[Float[Tensor, "rows outcomes"], State]]
"""From the last outcome of each path and the state to the scores of the next and its state."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The likeliest sequences found for each image, likeliest first."""

    log_probability: Float[Tensor, "batch width"]
    """Of the whole path, END included; -inf in places for which there was no path."""
    members: Bool[Tensor, "batch width labels"]
    """Which labels the path names."""
    nearest: Float[Tensor, "batch width labels"]
    """The largest probability that each label had at any step of the path."""


def beam_search(step: Step, state: State, *, labels: int, width: int) -> Paths:
    """The likeliest sequences of labels, as far as a beam of this width sees.

    A path names labels, none twice, and then END. Its probability is the product of those of
    its steps, each a softmax over END and the labels not yet named; so it sums to 1 over all
    paths. After each step the `width` likeliest of all continuations stay; a finished path
    stays as it is until likelier ones push it out. There are at most labels + 1 steps: after
    all labels END is certain. Images do not affect one another.

    Args:
        step: The network.
        state: Before the first step, which gets END as the last outcome.
        labels: Number of labels; END has this number.
        width: Paths kept; 1 is greedy search.
    """
    like = state[0]
    batch = len(like) // width
    first = torch.arange(batch * width, device=like.device).view(batch, width)[:, :1]
    log_p = like.new_full((batch, width), float("-inf"))
    log_p[:, 0] = 0
    tokens = torch.full((batch, width), labels, device=like.device)
    named = torch.zeros(batch, width, labels + 1, dtype=torch.bool, device=like.device)
    nearest = like.new_zeros(batch, width, labels)
    # Places without a path yet count as finished: they stay at probability 0.
    finished = log_p.isneginf()
    ended = like.new_full((labels + 1,), float("-inf"))
    ended[labels] = 0
    while not finished.all():
        scores, state = step(tokens.flatten(), state)
        allowed = scores.view(batch, width, -1).masked_fill(named, float("-inf"))
        chances = allowed.log_softmax(2)
        seen = chances[..., :labels].exp().masked_fill(finished[..., None], 0)
        nearest = nearest.maximum(seen)
        every = (log_p[..., None] + ended.where(finished[..., None], chances)).flatten(1)
        log_p, chosen = every.topk(width)
        parent = chosen // (labels + 1)
        tokens = chosen % (labels + 1)
        state = tuple(part[(first + parent).flatten()] for part in state)
        named = _rows(named, parent)
        named.scatter_(2, tokens[..., None], True)
        named[..., labels] = False
        nearest = _rows(nearest, parent)
        finished = (tokens == labels) | log_p.isneginf()
    return Paths(log_p, named[..., :labels], nearest)


def _rows(values: Tensor, parent: Tensor) -> Tensor:
    """For each image the rows that became its paths."""
    return values.gather(1, parent[..., None].expand_as(values))
