"""Searches settings of a recipe, on Ray: what its [tune.space] says, for as many trials.

Writes STORAGE/NAME/tune.json, tune.html and best.toml, a recipe for jobs/train.py; the trials'
runs lie in STORAGE/NAME/trials. Trials see the validation split alone. At the end the best
settings are trained again and tested, once.
"""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retdm.claims import Work, hold
from retdm.config import Config, load_search, parse
from retdm.console import Stopped, run
from retdm.errors import ConfigError
from retdm.onray.installed import need_ray
from retdm.onray.options import check_apart, check_storage, job_parser
from retdm.onray.workers import Workers
from retdm.storage import Store, join_url, open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna
    from optuna.trial import FrozenTrial

    from retdm.claims import Claim
    from retdm.onray.tune_plan import SearchPlan
    from retdm.tuning.database import Database

log = logging.getLogger(__name__)
_SEARCHING = Work(
    folder="_search/",
    noun="program",
    verb="search",
    option="",
    elsewhere="choose another --run-name",
    lockless="choose a --storage that has locks, or s3://BUCKET/PREFIX",
)
EXAMPLES = """examples:
  python jobs/tune.py jobs/recipes/scene.toml --set data.url=s3://photos/scene --trials 30
  one more setting, for two hours, on the cluster:
  ray job submit --working-dir . -- python jobs/tune.py jobs/recipes/scene.toml --hours 2 \\
      --trials 1000 --set 'tune.space.loss.tau = {log = [0.05, 2]}' ...
  a space in the place of the recipe's (the one above is added to it):
      --set 'tune.space = {"loss.k" = {int = [1, 9]}, "loss.tau" = {log = [0.05, 2]}}'
  all combinations of three values each:
      --set tune.sampler=grid --set tune.grid_points=3
  a study in a database of the team's (its URL may also come from RETDM_STUDY):
      --study postgresql://USER:PASSWORD@HOST/NAME

The same command again goes on where it was interrupted; with more --trials it goes on longer.
SIGTERM and Ctrl-C end it when the runs at work have written checkpoints, a second one at once.
exit status: 0 done, 1 no trial came to its end, 2 bad settings, data or storage, 143 stopped by
SIGTERM, 130 by Ctrl-C"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = job_parser("jobs/tune.py", description=__doc__, examples=EXAMPLES)
    out.add_argument("--run-name", help="folder of the search (default: RECIPE-tune)")
    out.add_argument("--trials", type=int, metavar="N", help="as --set tune.trials=N")
    out.add_argument("--hours", type=float, metavar="H", help="as --set tune.hours=H")
    out.add_argument(
        "--concurrency", type=int, metavar="M", help="trials at a time (default: as many as fit)"
    )
    out.add_argument(
        "--study",
        default=os.environ.get("RETDM_STUDY", ""),
        metavar="URL",
        help="database of the study (default: $RETDM_STUDY or a file in the search's folder)",
    )
    out.add_argument(
        "--resume",
        choices=["auto", "never", "must"],
        default="auto",
        help="go on with a search of this name (auto), refuse to (never), or insist (must)",
    )
    out.add_argument(
        "--dry-run",
        action="store_true",
        help="check and describe it and its study, write nothing, and stop",
    )
    return out


def main() -> int:
    """Check everything that needs no cluster, then search."""
    args = parser().parse_args()
    options = {"trials": args.trials, "hours": args.hours}
    given = [f"tune.{name}={value}" for name, value in options.items() if value is not None]
    table, tune = load_search(args.recipe, [*args.set, *given])
    check_storage(args.storage)
    need_ray()
    workers = Workers.parse(args.workers)
    if args.concurrency is not None and args.concurrency < 1:
        raise ConfigError(f"--concurrency {args.concurrency}: give 1 or more")
    config = parse(Config, table, source=args.recipe)
    if not config.data.url:
        raise ConfigError(
            "data.url is empty; name the shard set, for example --set data.url=s3://photos/scene"
        )
    # Torch and Ray take seconds to import, which a wrong setting need not wait for.
    from retdm.data.manifest import load_manifest
    from retdm.data.split import open_split
    from retdm.onray.run_record import RUN
    from retdm.onray.tune_plan import about, plan_search
    from retdm.onray.tune_words import describe
    from retdm.tuning.blind import blind_line
    from retdm.tuning.connection import explained
    from retdm.tuning.database import look_into, open_database
    from retdm.tuning.outcome import standing_line

    store = open_store(join_url(args.storage, args.run_name or f"{Path(args.recipe).stem}-tune"))
    check_apart(store, config.data.url)
    manifest = load_manifest(open_store(config.data.url))
    if store.size(RUN) is not None:
        raise ConfigError(f"{store.url}: a run of this name exists; choose another --run-name")
    plan = plan_search(
        table,
        tune,
        home=store.url,
        manifest=manifest,
        workers=workers,
        source=args.recipe,
    )
    name, what = store.url.rpartition("/")[2], about(plan, manifest.digest)
    with look_into(store, args.study) as database, explained(database.where):
        standing = standing_line(database.known(name, what, args.resume), tune)
    print("\n".join([*describe(plan), standing]), flush=True)
    if line := blind_line(open_split(config.data.url, config.data.val_split)):
        log.warning("warning: %s", line)
    if args.dry_run:
        return 0
    with (
        hold(store, _SEARCHING) as claim,
        open_database(store, args.study) as database,
        explained(database.where),
    ):
        study = database.study(name, tune.metrics, what, args.resume)
        return _search(plan, study, database, claim, store, args.concurrency)


def _search(
    plan: "SearchPlan",
    study: "optuna.Study",
    database: "Database",
    claim: "Claim",
    store: Store,
    concurrency: int | None,
) -> int:
    """Run what is left of the search and its best trial; return the exit status."""
    from retdm.evaluation import metric_table
    from retdm.onray.tune_run import run_best, run_search, run_stages
    from retdm.report.search_text import search_text
    from retdm.tuning.clock import Clock
    from retdm.tuning.outcome import best_trials, progress_line
    from retdm.tuning.study import Trials

    clock, tune = Clock(study, plan.tune), plan.tune
    first, seed = plan.defaults, plan.base.seed

    def saved() -> None:
        clock.note()
        database.save()

    trials = Trials(study, tune, first=first, seed=seed, saved=saved)

    def on_end(number: int) -> None:
        log.info("%s", progress_line(trials, tune.metrics, number, clock.elapsed))
        _write(plan, study, store, None)

    try:
        if trials.left and (trials.orphans or not clock.late):
            run_stages(plan, study, concurrency)
            saved()
            until = clock.until
            run_search(
                plan, trials, database, claim, concurrency=concurrency, until=until, on_end=on_end
            )
        if trials.left and clock.late:
            log.info("the search has had its tune.hours=%g; give it more to go on", tune.hours)
    except Stopped:
        _draw(_write(plan, study, store, None), store)
        raise
    best, final = best_trials(study, tune.metrics), None
    if len(best) == 1:
        # There is a page while the best is trained, and if that fails.
        _draw(_write(plan, study, store, None), store)
        log.info("training the best again, trial %d, to test it", best[0].number)
        final = run_best(plan, best[0].number, best[0].params, claim)
    content = _write(plan, study, store, final)
    _draw(content, store)
    print(search_text(content))
    if final:
        print(metric_table(final["metrics"], dataset=final["data"], method=final["method"]))
    print(f"search: {store.url}/tune.html and tune.json")
    for name in _recipes(best):
        print(f"recipe: {store.url}/{name}")
    print(f"TensorBoard: tensorboard --logdir {store.url}/tune")
    return 0 if best else 1


def _write(
    plan: "SearchPlan", study: "optuna.Study", store: Store, final: dict[str, Any] | None
) -> dict[str, Any]:
    """Write `tune.json` and the recipe of the best; return the content."""
    from retdm.evaluation import strict_json
    from retdm.onray.run_record import SEARCH
    from retdm.onray.tune_plan import SHARED
    from retdm.tuning.outcome import best_recipe, best_trials, search_content

    content = search_content(
        study,
        plan.tune,
        data=plan.data,
        defaults=plan.defaults,
        runs=plan.folders,
        shared=[join_url(SHARED, cell.name) for cell in plan.stages.values()],
        final=final,
    )
    store.write(SEARCH, strict_json(content))
    recipes = _recipes(best_trials(study, plan.tune.metrics))
    for name in store.names("best"):
        if "/" not in name and name not in recipes:  # of trials that were the best before
            store.delete(name)
    for name, trial in recipes.items():
        recipe = best_recipe(plan.table, trial, search=store.url, tune=plan.tune)
        store.write(name, recipe.encode())
    return content


def _recipes(best: "Sequence[FrozenTrial]") -> "dict[str, FrozenTrial]":
    """Which trial each file with a recipe is of."""
    if len(best) == 1:
        return {"best.toml": best[0]}
    return {f"best-{trial.number:04d}.toml": trial for trial in best}


def _draw(content: dict[str, Any], store: Store) -> None:
    """Write the page, which takes seconds."""
    from retdm.report.search_html import search_html

    store.write("tune.html", search_html(content).encode())


if __name__ == "__main__":
    sys.exit(run(main))
