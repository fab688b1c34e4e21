"""Beam search against a list of all sequences, and against greedy search in loops."""

import itertools
import math

import pytest
import torch

from retdm.models.beam import Paths, beam_search
from retdm.models.label_rnn import LabelRnn, path_scores

WIDTH, ROWS = 6, 5


def net(labels, beam, seed=0):
    torch.manual_seed(seed)
    made = LabelRnn(WIDTH, labels, label_embedding=4, hidden=7, beam=beam).double()
    for parameter in made.parameters():
        parameter.data *= 2  # far from uniform
    return made.eval()


def embeddings(rows=ROWS):
    rng = torch.Generator().manual_seed(8)
    return torch.randn(rows, WIDTH, generator=rng, dtype=torch.float64)


def steps_of(model, embedding, sequence):
    """Probabilities of all outcomes at each step of one sequence; named labels have 0."""
    scores = model.sequence_scores(embedding[None], torch.tensor([sequence]))[0]
    rows = []
    for step, row in enumerate(scores.tolist()):
        weights = [
            0.0 if label in sequence[:step] else math.exp(value) for label, value in enumerate(row)
        ]
        rows.append([weight / sum(weights) for weight in weights])
    return rows


def probability(model, embedding, sequence):
    rows = steps_of(model, embedding, sequence)
    return math.prod(row[outcome] for row, outcome in zip(rows, sequence, strict=True))


def all_sequences(labels):
    for count in range(labels + 1):
        for order in itertools.permutations(range(labels), count):
            yield [*order, labels]


@torch.no_grad()
@pytest.mark.parametrize("labels, beam", [(1, 2), (2, 5), (3, 16), (3, 40)])
def test_a_wide_beam_finds_every_sequence_with_its_probability(labels, beam):
    model = net(labels, beam)
    found = model.paths(embeddings())
    for row, embedding in enumerate(embeddings()):
        expected = sorted(
            ((probability(model, embedding, s), sorted(s[:-1])) for s in all_sequences(labels)),
            reverse=True,
        )
        chances = found.log_probability[row].exp()
        real = int((chances > 0).sum())
        assert real == len(expected)
        assert chances.sum().item() == pytest.approx(1)
        torch.testing.assert_close(chances[:real], torch.tensor([p for p, _ in expected]).double())
        members = [one.nonzero()[:, 0].tolist() for one in found.members[row, :real]]
        assert members == [labels for _, labels in expected]


@torch.no_grad()
def test_a_wide_beam_gives_each_labels_share_of_all_sequences():
    labels, model = 3, net(3, 16)
    scores = path_scores(model.paths(embeddings()))
    for row, embedding in enumerate(embeddings()):
        for label in range(labels):
            share = near = 0.0
            for sequence in all_sequences(labels):
                chance = probability(model, embedding, sequence)
                share += chance * (label in sequence)
                near += chance * max(step[label] for step in steps_of(model, embedding, sequence))
            assert scores[row, label].item() == pytest.approx(0.999 * share + 0.001 * near)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_one_is_greedy(seed):
    labels, model = 6, net(6, 1, seed)
    found = model.paths(embeddings())
    for row, embedding in enumerate(embeddings()):
        sequence: list[int] = []
        while not sequence or sequence[-1] != labels:
            last = steps_of(model, embedding, [*sequence, labels])[-1]
            sequence.append(max(range(labels + 1), key=last.__getitem__))
        assert found.members[row, 0].nonzero()[:, 0].tolist() == sorted(sequence[:-1])
        expected = probability(model, embedding, sequence)
        assert found.log_probability[row, 0].exp().item() == pytest.approx(expected)


def slow_beam(model, embedding, labels, width):
    paths = [(1.0, [])]
    while any(not p or p[-1] != labels for _, p in paths):
        longer = []
        for chance, path in paths:
            if path and path[-1] == labels:
                longer.append((chance, path))
                continue
            last = steps_of(model, embedding, [*path, labels])[-1]
            longer += [
                (chance * last[outcome], [*path, outcome])
                for outcome in range(labels + 1)
                if outcome not in path
            ]
        paths = sorted(longer, reverse=True)[:width]
    return paths


@torch.no_grad()
@pytest.mark.parametrize("width", [2, 3, 5])
def test_a_narrow_beam_is_the_one_of_the_loops(width):
    labels, model = 5, net(5, width)
    found = model.paths(embeddings())
    for row, embedding in enumerate(embeddings()):
        for place, (chance, path) in enumerate(slow_beam(model, embedding, labels, width)):
            assert found.log_probability[row, place].exp().item() == pytest.approx(chance)
            assert found.members[row, place].nonzero()[:, 0].tolist() == sorted(path[:-1])
            near = torch.tensor(steps_of(model, embedding, path)).max(0).values[:labels]
            torch.testing.assert_close(found.nearest[row, place], near.double(), rtol=1e-6, atol=0)


@torch.no_grad()
def test_images_do_not_affect_one_another():
    model = net(5, 3)
    whole = model.paths(embeddings())
    for row in range(ROWS):
        alone = model.paths(embeddings()[row : row + 1])
        torch.testing.assert_close(alone.log_probability[0], whole.log_probability[row])
        assert torch.equal(alone.members[0], whole.members[row])


@torch.no_grad()
def test_it_ends_even_where_end_is_never_likely():
    labels, width = 4, 2

    def step(tokens, state):
        scores = torch.zeros(len(tokens), labels + 1)
        scores[:, labels] = -1e4
        return scores, state

    paths = beam_search(step, (torch.zeros(3 * width, 1),), labels=labels, width=width)
    assert paths.members.all()
    torch.testing.assert_close(paths.log_probability.exp(), torch.full((3, 2), 1 / 24))


@torch.no_grad()
def test_no_images_have_no_paths():
    assert path_scores(net(3, 2).paths(embeddings(0))).shape == (0, 3)


def test_scores_of_certain_paths_are_in_range_and_ordered_within_ties():
    members = torch.tensor([[[True, True, False, False]]])
    nearest = torch.tensor([[[1.0, 0.5, 0.2, 0.1]]])
    scores = path_scores(Paths(torch.zeros(1, 1), members, nearest))[0]
    assert scores[0] == 1
    assert (scores.diff() < 0).all()
    assert scores[1] > 0.5 > scores[2] > 0
