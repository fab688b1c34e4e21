"""Trains several methods with several seeds on Ray and puts their results beside one another.

Writes STORAGE/NAME/compare.json, .md and .html; the runs lie in STORAGE/NAME/cells. Finished runs
are reused, begun ones resumed, and methods that begin with the same BCE stage share it.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from retdm.console import counted, run
from retdm.errors import CheckpointError, ConfigError, RetdmError
from retdm.evaluation import EndedRun, compare_content, strict_json
from retdm.onray.installed import need_ray
from retdm.onray.options import check_apart, check_storage, job_parser
from retdm.onray.workers import Workers
from retdm.report import comparison_html, comparison_markdown
from retdm.storage import join_url, open_store

if TYPE_CHECKING:
    from retdm.onray.compare_plan import Cell, Column
    from retdm.onray.compare_run import Outcome

log = logging.getLogger(__name__)
EXAMPLES = """examples:
  python jobs/compare.py jobs/recipes/scene.toml --set data.url=s3://photos/scene \\
      --methods bce,asl,retdm-one-way,retdm --seeds 0,1,2,3,4 --run-name scene
  the same with another reading of a method as one more column:
      --methods bce,retdm --variant sharp:method=retdm,loss.tau=0.1
  ray job submit --working-dir . -- python jobs/compare.py jobs/recipes/scene.toml ...

The same command again goes on where it was interrupted, and tries what failed again.
SIGTERM and Ctrl-C end it when the runs at work have written checkpoints, a second one at once.
exit status: 0 done, 1 some run failed, 2 bad settings or data, 143 stopped by SIGTERM, 130 by
Ctrl-C"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = job_parser("jobs/compare.py", description=__doc__, examples=EXAMPLES)
    out.add_argument("--methods", default="", metavar="A,B", help="one column for each method")
    out.add_argument("--seeds", default="0", metavar="0,1,2", help="runs of each (default: 0)")
    out.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME:A.B=C,D=E",
        help="one more column: the recipe with these settings, for example another reading",
    )
    out.add_argument(
        "--baseline", metavar="COLUMN", help="column that others are tested against (default: bce)"
    )
    out.add_argument("--run-name", help="folder of the comparison (default: RECIPE-compare)")
    out.add_argument(
        "--report", default="compare", metavar="NAME", help="name of the files (default: compare)"
    )
    out.add_argument(
        "--concurrency", type=int, metavar="M", help="runs at a time (default: as many as fit)"
    )
    out.add_argument("--dry-run", action="store_true", help="list the runs and stop")
    return out


def main() -> int:
    """Plan the cells, run them, and write the comparison after each."""
    args = parser().parse_args()
    check_storage(args.storage)
    need_ray()
    seeds, workers = _seeds(args.seeds), Workers.parse(args.workers)
    if args.concurrency is not None and args.concurrency < 1:
        raise ConfigError(f"--concurrency {args.concurrency}: give 1 or more")
    from retdm.data.manifest import load_manifest
    from retdm.onray.compare_plan import plan_cells, plan_columns, without_effect

    columns = plan_columns(args.recipe, _methods(args.methods), args.variant, args.set)
    names = [column.name for column in columns]
    baseline = _baseline(args.baseline, names)
    urls = {column.config.data.url for column in columns}
    if len(urls) != 1 or "" in urls:
        raise ConfigError(
            "data.url must be set and the same in all columns, for example "
            "--set data.url=s3://photos/scene"
        )
    home = join_url(args.storage, args.run_name or f"{Path(args.recipe).stem}-compare")
    check_apart(open_store(home), columns[0].config.data.url)
    manifest = load_manifest(open_store(columns[0].config.data.url))
    cells = plan_cells(columns, seeds, labels=len(manifest.labels), data_digest=manifest.digest)
    for line in without_effect(columns, cells):
        log.warning("warning: %s", line)
    folder = join_url(home, "cells")
    if args.dry_run:
        _list(cells, folder)
        return 0
    from retdm.onray.compare_run import run_cells

    ends: list[Outcome] = []

    def on_outcome(outcome: "Outcome") -> None:
        ends.append(outcome)
        if outcome.cell.columns and outcome.how != "reused":
            _write(home, args.report, columns, seeds, baseline, cells, ends)

    run_cells(
        cells,
        storage=folder,
        workers=workers,
        concurrency=args.concurrency,
        on_outcome=on_outcome,
    )
    _write(home, args.report, columns, seeds, baseline, cells, ends)
    failed = [end for end in ends if end.how == "failed"]
    print(f"comparison: {join_url(home, args.report)}.html, .md and .json")
    for end in failed:
        print(f"failed: {end.cell.title}: {end.error}", file=sys.stderr)
    return 1 if failed else 0


def _methods(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if text and not all(names):
        raise ConfigError(f"--methods {text!r}: a name is missing; write it as bce,asl,retdm")
    return names if text else []


def _seeds(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    seeds = [int(part) for part in parts if part.isdecimal()]
    if len(set(seeds)) < len(parts):
        raise ConfigError(f"--seeds {text!r}: give different whole numbers, for example 0,1,2")
    return seeds


def _baseline(given: str | None, names: list[str]) -> str:
    if given is None:
        return "bce" if "bce" in names else ""
    if given not in names:
        raise ConfigError(f"--baseline {given!r} is not a column; columns: {', '.join(names)}")
    return given


def _list(cells: "list[Cell]", folder: str) -> None:
    """Show the cells and what storage holds of each.

    Raises:
        CheckpointError: After the last one, if some could neither be reused nor go on.
    """
    from retdm.onray.compare_standing import standing

    wrong = 0
    for number, cell in enumerate(cells, 1):
        after = f", from {cell.shared}" if cell.shared else ""
        try:
            found = standing(folder, cell).text
        except RetdmError as error:
            found, wrong = f"error: {error}", wrong + 1
        print(
            f"{number} of {len(cells)}  {cell.title} ({cell.name}): {cell.epochs} epochs{after}; "
            f"{found}"
        )
    if wrong:
        raise CheckpointError(
            f"{counted(wrong, 'run')} of {len(cells)} would fail; what to do is said in the list"
        )


def _write(
    home: str,
    report: str,
    columns: "list[Column]",
    seeds: list[int],
    baseline: str,
    cells: "list[Cell]",
    ends: "list[Outcome]",
) -> None:
    """Write what is known so far."""
    ended = [
        EndedRun(
            cell=end.cell.name,
            title=end.cell.title,
            columns=end.cell.columns,
            seed=end.cell.config.seed,
            how=end.how,
            seconds=end.seconds,
            result=end.result,
            error=end.error,
        )
        for end in ends
    ]
    summary = compare_content(
        home.rpartition("/")[2],
        {column.name: column.config.method for column in columns},
        seeds,
        ended,
        wanted=len([cell for cell in cells if cell.columns]),
        baseline=baseline,
    )
    store = open_store(home)
    store.write(f"{report}.md", comparison_markdown(summary).encode())
    store.write(f"{report}.html", comparison_html(summary).encode())
    store.write(f"{report}.json", strict_json(summary))


if __name__ == "__main__":
    sys.exit(run(main))
