"""The model card of a bundle: its README.md, filled with what was measured."""

from collections.abc import Iterable, Mapping, Sequence

from retdm.predictor.bundle import Description

_SHOWN = ("mAP", "CF1", "OF1", "hamming_loss", "one_error", "top3.OF1", "fitted.CF1", "fitted.OF1")


def card(about: Description, reading: Mapping[str, str]) -> str:
    """Markdown.

    Args:
        about: The rest of the bundle.
        reading: How the method was read where its paper leaves a choice.
    """
    config = about.config
    backbone = _setting(config, "model", "backbone")
    facts = {
        "method": str(config["method"]),
        "backbone": f"{backbone}, started from weights {_setting(config, 'model', 'weights')}",
        "labels": str(len(about.labels)),
        "run, checkpoint": f"{about.run}, {about.checkpoint}",
        "seed": str(config["seed"]),
        "data": f"{about.data or 'name not known'}, manifest SHA-256 `{about.data_digest}`",
        "weights": f"SHA-256 `{about.weights_sha256}`",
        "trained with": ", ".join(f"{name} {v}" for name, v in about.versions.items()) or "-",
    }
    parts = [
        f"# {about.run}",
        f"Predicts which of {len(about.labels)} labels a photo has. "
        "Made by `python -m retdm.export`.",
        _table(("", ""), facts.items()),
        "## Measured",
        *_measured(about),
        "## Use",
        _USE,
        "## What it is given",
        _given(about),
        "## Labels",
        _labels(about),
        "## Readings",
        "How formulas were read that the paper leaves open.",
        _table(("what", "reading"), reading.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _measured(about: Description) -> Iterable[str]:
    if not about.metrics:
        yield "Nothing: the run has no result for this checkpoint."
        return
    splits = list(about.metrics)
    rows = [
        (name, *(_figure(about.metrics[split].get(name)) for split in splits))
        for name in _SHOWN
        if any(name in about.metrics[split] for split in splits)
    ]
    yield (
        f"On the {' and '.join(splits)} split of the data above, by one run. `top3.*` predict the "
        "three best labels of each photo, `fitted.*` by the thresholds below, the others all from "
        f"{about.threshold:g} on; mAP and one_error need no threshold."
    )
    yield _table(("metric", *splits), rows)


def _given(about: Description) -> str:
    how = about.preprocessing
    return (
        "retdm does this by itself. An RGB image, turned upright by its EXIF orientation, is "
        f"thought of as a square of side {how.resize}, whatever its shape; the centre of side "
        f"{how.size} is resampled once, by a triangle filter as wide as the reduction, to "
        f"{how.size} x {how.size} pixels of uint8. Normalisation is part of the network."
    )


def _labels(about: Description) -> str:
    if about.thresholds is None:
        return _table(("label",), [(label,) for label in about.labels])
    rows = [(label, f"{about.thresholds[label]:.4f}") for label in about.labels]
    return _table(("label", "threshold, fitted on the validation split"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """One line, in which nothing is taken for a column's end or for a tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _setting(config: Mapping[str, object], table: str, key: str) -> str:
    settings = config[table]
    assert isinstance(settings, Mapping)
    return str(settings[key])


_USE = """\
    from retdm import load

    model = load("PATH/OF/THIS/FOLDER")      # or its s3:// URL
    model.predict(["photo.jpg"])             # [["sky", "sea"]]
    model.scores(["photo.jpg"])              # images x labels, in [0, 1]
    model.embed(["photo.jpg"])               # images x width

or `python -m retdm.predict PATH/OF/THIS/FOLDER photos/ --json labels.jsonl`."""
