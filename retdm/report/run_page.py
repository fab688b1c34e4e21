"""One or several runs, finished or not, as one HTML file that needs nothing else: no network."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from html import escape

from retdm.console import counted
from retdm.errors import RetdmError
from retdm.report.convergence import convergence
from retdm.report.curve_figures import label_curves, micro_figure
from retdm.report.gallery import STYLE as GALLERY_STYLE
from retdm.report.gallery import gallery
from retdm.report.html_page import html_list, html_page, table_section
from retdm.report.plotly_figure import HEAD, STYLE, Figure, draw_script, figure_html
from retdm.report.run_course import losses_figure, validation_figure
from retdm.report.run_files import RunFiles
from retdm.report.run_results import cautions, metric_columns
from retdm.report.run_scores import SplitScores
from retdm.report.run_tables import (
    baselines,
    bounds,
    differences,
    headline,
    metric_tables,
    scaling,
    times,
    versions,
)
from retdm.report.score_figures import Scored, label_figure, reliability_figure
from retdm.report.space import place
from retdm.report.space_figures import (
    agreement_figure,
    distances_figure,
    map_figure,
    neighbours_table,
)
from retdm.report.table import Table
from retdm.report.together_figure import together_figure

_STYLE = """
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; list-style: none; }
a { color: var(--dot); } a:focus-visible, summary:focus-visible { outline: 2px solid var(--dot); }
details { margin: .6rem 0; } summary { cursor: pointer; font-size: .87rem; color: var(--soft); }
section > h3 { margin-top: 1.5rem; } section > figure { margin-top: 1.4rem; }
dd { font-size: .87rem; color: var(--soft); } section { scroll-margin-top: 1rem; }
@media print { nav { display: none; } }
"""
_NOT_LOOKED = (
    "Not shown: the page was made with --quick, from the files of the runs alone, without scores "
    "of single images."
)
_NARROW = 4
"""Columns of a table that has room beside another."""
_PHOTOS, _FEWEST = 16, 2
"""Photos of a page, and the fewest of each kind that a run has."""


def run_page(runs: Sequence[RunFiles], scores: Sequence[SplitScores], *, photos: bool) -> str:
    """The whole page.

    Args:
        runs: In the order of the page.
        scores: Of each run, in the same order; none at all for a page without those sections.
        photos: Whether single photos may be shown.
    """
    title = f"Run {runs[0].name}" if len(runs) == 1 else f"{len(runs)} runs"
    sections = {
        "Results": _results(runs, scores),
        "Training": _training(runs),
        "Labels": _labels(scores),
        "Embedding space": _space(runs, scores),
        "Photos": _photos(scores) if photos else ["<p>Left out by --no-photos.</p>"],
        "Time": _time(runs),
        "Settings": _settings(runs),
    }
    names = {heading: heading.lower().replace(" ", "-") for heading in sections}
    links = "".join(f'<li><a href="#{name}">{heading}</a></li>' for heading, name in names.items())
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in _headlines(runs, scores)),
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>',
        "<noscript><p>The figures need JavaScript, the tables do not.</p></noscript>",
    ]
    for heading, parts in sections.items():
        body += [
            f'<section id="{names[heading]}" aria-label="{heading}"><h2>{heading}</h2>',
            *parts,
            "</section>",
        ]
    style = f"{STYLE}{_STYLE}{GALLERY_STYLE}"
    return html_page(title, [*body, draw_script()], head=HEAD, style=style)


def _headlines(runs: Sequence[RunFiles], scores: Sequence[SplitScores]) -> list[str]:
    lines = [headline(run) for run in runs]
    for number, one in enumerate(scores):
        count = len(one.scored.targets)
        lines[number] += f" Scores here: {count} images of split {one.split}, by {one.source}."
    return lines


def _results(runs: Sequence[RunFiles], scores: Sequence[SplitScores]) -> list[str]:
    columns = metric_columns(runs, scores)
    parts = [html_list(cautions(runs, scores), "failed")]
    tables = metric_tables(columns, runs)
    if tables:
        # The last one has the notes of all.
        notes = html_list([note for table in tables for note in table.notes], "note")
        bare = [replace(table, notes=[]) for table in tables]
        for table in bare:
            parts += table_section(table, level=3) if len(table.head) > _NARROW else []
        narrow = [table_section(table, level=3) for table in bare if len(table.head) <= _NARROW]
        side_by_side = "".join(f"<div>{''.join(section)}</div>" for section in narrow)
        parts += [f"<div class=plots>{side_by_side}</div>", notes]
    if not columns:
        parts.append("<p>No run has a finished epoch, so there is no metric yet.</p>")
    parts.append(html_list(baselines(runs), "note"))
    pairs = "".join(
        f"<dt>{escape(run.name)}</dt><dd>"
        f"{escape('; '.join(f'{what}: {how}' for what, how in run.reading.items()))}</dd>"
        for run in runs
        if run.reading
    )
    if pairs:
        said = "What each method took where the paper's text leaves a choice."
        parts += ["<h3>Readings</h3>", f"<p class=note>{said}</p>", f"<dl>{pairs}</dl>"]
    return parts


def _training(runs: Sequence[RunFiles]) -> list[str]:
    figures = [validation_figure(runs)] if len(runs) > 1 else []
    for run in runs:
        course = convergence(run.history, ["mAP", "OF1"])
        words = course.words
        if course.plot is not None:
            words = (
                "Above, the mean loss of each epoch; below, what the model reaches on the "
                f"validation split, where higher is better (as in the paper's figure 6). {words}"
            )
        title = f"{course.title}, {run.name}"
        figures += [losses_figure(run), replace(course, title=title, words=words)]
    damaged = [
        f"{run.name}: {counted(run.damaged, 'line')} of its log could not be read, left out."
        for run in runs
        if run.damaged
    ]
    return [html_list(damaged, "failed"), _grid(figures)]


def _labels(scores: Sequence[SplitScores]) -> list[str]:
    if not scores:
        return [f"<p>{_NOT_LOOKED}</p>"]
    # Side by side are those of the same images and labels.
    groups: dict[str, list[Scored]] = {}
    for one in scores:
        digest = sha256(repr(one.scored.labels).encode() + one.scored.targets.tobytes())
        groups.setdefault(digest.hexdigest(), []).append(one.scored)
    parts = []
    for group in groups.values():
        figure, table = label_figure(group)
        parts += [
            figure_html(figure),
            _details(table),
            _grid([micro_figure(group), reliability_figure(group), *map(label_curves, group)]),
            *(figure_html(together_figure(one)) for one in group),
        ]
    return parts


def _space(runs: Sequence[RunFiles], scores: Sequence[SplitScores]) -> list[str]:
    if not scores:
        return [f"<p>{_NOT_LOOKED}</p>"]
    parts = []
    for run, one in zip(runs, scores, strict=True):
        if one.found is None:
            words = "Not drawn: scores from a file come without embeddings."
            parts.append(figure_html(Figure(f"Embedding space of {run.name}", words)))
            continue
        space, names, k = place(one.found), list(one.scored.labels), one.found.config.loss.k
        figures = [map_figure(space, names, run.name)]
        if space.common:
            figures += [
                distances_figure(space, run.name, k=k),
                agreement_figure(space, run.name),
            ]
        parts.append(_grid(figures))
        if space.common is None:
            no = f"{run.name}: {run.method} embeds no label sets, so there is no distance to them."
            parts.append(f"<p class=note>{escape(no)}</p>")
        elif table := neighbours_table(space, names, run.name):
            parts += table_section(table, level=3)
    return parts


def _photos(scores: Sequence[SplitScores]) -> list[str]:
    if not scores:
        return [f"<p>{_NOT_LOOKED}</p>"]
    parts = [
        "<p class=note>By the cross-entropy of their labels (the number below each photo): small "
        "where the run gave true labels high scores and others low ones. Behind each label is its "
        "score. Photos are as stored, made smaller.</p>"
    ]
    each = max(_PHOTOS // 2 // len(scores), _FEWEST)
    for one in scores:
        why = one.why
        if one.data is not None:
            try:
                parts.append(gallery(one.scored, one.data, one.settings, one.rows, each=each))
                continue
            except RetdmError as error:  # the scores are worth a page without them
                why = str(error)
        parts.append(f"<p class=failed>{escape(f'No photos of {one.scored.name}: {why}.')}</p>")
    return parts


def _time(runs: Sequence[RunFiles]) -> list[str]:
    spent, scaled = times(runs), scaling(runs)
    parts = table_section(spent, level=3) if spent else ["<p>No run has recorded its time.</p>"]
    if scaled:
        return [*parts, *table_section(scaled, level=3)]
    return [
        *parts,
        html_list(bounds(runs), "note"),
        "<p class=note>Scaling efficiency needs two finished runs of the same settings with other "
        "numbers of workers.</p>",
    ]


def _settings(runs: Sequence[RunFiles]) -> list[str]:
    parts = []
    if len(runs) > 1:
        table = differences(runs)
        parts += table_section(table, level=3) if table else ["<p>All settings are alike.</p>"]
    return [*parts, html_list(versions(runs), "note")]


def _grid(figures: Sequence[Figure]) -> str:
    return f"<div class=plots>{''.join(map(figure_html, figures))}</div>"


def _details(table: Table) -> str:
    _, *rest = table_section(table)
    return f"<details><summary>{escape(table.title)}</summary>{''.join(rest)}</details>"
