"""A finished or running search as one HTML file that needs nothing else: no network."""

from html import escape

from retdm.report.convergence import convergence
from retdm.report.html_page import html_page, table_section
from retdm.report.plotly_figure import HEAD, STYLE, Figure, draw_script, figure_html
from retdm.report.search_course import epochs_figure, values_figure
from retdm.report.search_sensitivity import heat_map, importances, parallel, slices
from retdm.report.search_study import study_of
from retdm.report.search_tables import best_table, final_table, trials_table
from retdm.report.search_words import Summary, headline


def search_html(summary: Summary) -> str:
    """The whole page; `summary` is the content of `tune.json`."""
    title = f"Search {summary['search']}"
    study, metrics = study_of(summary), summary["metrics"]
    by_metric = [f for m in metrics for f in (heat_map(summary, study, m), *slices(summary, m))]
    body = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(line)}</p>" for line in headline(summary))]
    body += [
        "<noscript><p>The figures need JavaScript, the tables do not.</p></noscript>",
        *table_section(best_table(summary)),
        "<h2>Which settings matter</h2>",
        _grid([*by_metric, importances(summary, study)]),
        figure_html(parallel(summary, study)),
        "<h2>How the search went</h2>",
        _grid([values_figure(summary), epochs_figure(summary)]),
    ]
    final = final_table(summary)
    if final:
        shown = list(dict.fromkeys((*metrics, "mAP")))
        body += [
            *table_section(final),
            figure_html(convergence(summary["final"]["history"], shown)),
        ]
    else:
        body += [
            "<h2>The best trained again</h2>",
            "<p>Not yet: loss and validation by epoch and the test split come with it.</p>",
        ]
    body += [*table_section(trials_table(summary)), draw_script()]
    return html_page(title, body, head=HEAD, style=STYLE)


def _grid(figures: list[Figure]) -> str:
    return f"<div class=plots>{''.join(map(figure_html, figures))}</div>"
