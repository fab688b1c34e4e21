"""Names of the readings that RETDM takes where the paper leaves a choice, and their settings."""

from typing import Literal

from retdm.config import LossSettings


def reading(settings: LossSettings, *, ways: Literal[1, 2, 4]) -> dict[str, str]:
    """Of the metric and reconstruction losses, by what each is about."""
    penalty: str = settings.penalty
    if settings.penalty == "nll_plus_hinge_margin":
        penalty += f", margin {settings.margin:g}"
    if settings.penalty not in ("nll", "nll_weighted"):
        penalty += f", {settings.penalty_reduction} over neighbours"
    tau = f", tau {settings.tau:g}" if settings.score.endswith("_tau") else ""
    unique, everywhere = settings.neighbour_unit == "unique", settings.neighbours == "exact"
    at_hand = "the batch" if settings.neighbours == "batch" else "batch and bank"
    unit = "distinct label sets" if unique else "images by their label sets, which may repeat,"
    drawn = f"one drawn for each anchor and step, from {at_hand}"
    own = f"the {settings.k} nearest images of {at_hand}" if everywhere else "the neighbour itself"
    second = {
        "image of a label set": drawn if unique else own,
        "gamma": f"{settings.gamma:g}",
    }
    space = "directions" if settings.score == "unit_sq_tau" else "embeddings"
    four = {
        "image neighbours": f"{settings.k} nearest images of other label sets by Euclidean "
        f"distance between {space}, label sets may repeat, candidates=batch"
        + ("" if settings.neighbours == "batch" else " and bank"),
        "metric loss": "((L_1 + gamma L_2) + (L_3 + gamma L_4)) / 2",
    }
    return {
        "ways": {1: "one", 2: "two", 4: "four"}[ways],
        "score": settings.score + tau,
        "penalty": penalty,
        "neighbours": f"{settings.k} {unit} by Hamming distance, own one excluded, "
        f"ties in seeded random order, candidates={settings.neighbours}",
        **(second if ways > 1 else {}),
        **(four if ways == 4 else {}),
        "label net": "FC, ReLU, FC on 0/1 labels",
        "reconstruction": "linear output, squared error, mean over labels",
    }


def looks_at(settings: LossSettings, *, ways: Literal[1, 2, 4]) -> frozenset[str]:
    """See `Method.looks_at`: what score, penalty and ways leave out does not count."""
    hinges = settings.penalty not in ("nll", "nll_weighted")
    without = {
        "tau": not settings.score.endswith("_tau"),
        "margin": settings.penalty != "nll_plus_hinge_margin",
        "penalty_reduction": not hinges,
        "gamma": ways == 1,
    }
    used = {key for key in LossSettings.model_fields if not without.get(key)}
    return frozenset({"bank", *(f"loss.{key}" for key in used)})
