"""Trains a recipe on Ray, evaluates it on the test split and writes STORAGE/NAME/result.json."""

import argparse
import sys
from pathlib import Path

from retdm.config import load_config
from retdm.console import run
from retdm.errors import ConfigError
from retdm.evaluation import metric_table
from retdm.onray.installed import need_ray
from retdm.onray.options import check_apart, check_storage, job_parser
from retdm.onray.workers import Workers
from retdm.storage import join_url, open_store
from retdm.train.profiled_steps import ProfiledSteps

EXAMPLES = """examples:
  python jobs/train.py jobs/recipes/scene.toml --set data.url=s3://photos/scene --workers 2
  python jobs/train.py jobs/recipes/scene.toml --set method=bce --set stages.*.epochs=2
  python jobs/train.py jobs/recipes/coco2014-vgg16.toml --workers 8 --dry-run
  python jobs/train.py jobs/recipes/scene.toml --run-name look --profile steps=10:20
  ray job submit --working-dir . -- python jobs/train.py jobs/recipes/demo.toml --storage s3://photos/runs

S3 is set up by the standard variables AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
When a worker fails, all start again from the latest checkpoint, run.max_failures (3) times; what
no restart can mend ends the run at once. A fault of S3 counts as a failure after the call has been
repeated for RETDM_S3_PATIENCE_S (120) seconds. The same command goes on with an ended run.

SIGTERM (`ray job stop`) and Ctrl-C end the run behind a checkpoint of the step it is in; a second
one ends it at once. Ray kills a stopped job after RAY_JOB_STOP_WAIT_TIME_S (3) seconds, a variable
of the head: raise it if a step and a checkpoint take longer, or the steps since the last
checkpoint are lost.

exit status: 0 done, 2 bad settings, data, storage or run, 1 a lost worker or a bug, 143 stopped by
SIGTERM, 130 by Ctrl-C; the last line on stderr is the error, or where the run was stopped"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = job_parser("jobs/train.py", description=__doc__, examples=EXAMPLES)
    out.add_argument("--run-name", help="folder of the run (default: RECIPE-METHOD-SEED)")
    out.add_argument(
        "--resume",
        choices=["auto", "never", "must"],
        default="auto",
        help="continue a run of this name (auto), refuse to (never), or insist (must)",
    )
    out.add_argument(
        "--profile",
        metavar="steps=FROM:TO",
        help="write what each worker does in these steps to profile/ in the run's folder, a trace "
        "for ui.perfetto.dev",
    )
    out.add_argument(
        "--dry-run",
        action="store_true",
        help="check settings, data and storage, say what would be done, and stop",
    )
    return out


def main() -> int:
    """Check everything that needs no cluster, then train."""
    args = parser().parse_args()
    config = load_config(args.recipe, args.set)
    check_storage(args.storage)
    need_ray()
    workers = Workers.parse(args.workers)
    profile = ProfiledSteps.parse(args.profile) if args.profile is not None else None
    if not config.data.url and not args.dry_run:
        raise ConfigError(
            "data.url is empty; name the shard set, for example --set data.url=s3://photos/scene"
        )
    name = args.run_name or f"{Path(args.recipe).stem}-{config.method}-s{config.seed}"
    home = join_url(args.storage, name)
    if config.data.url:
        check_apart(open_store(home), config.data.url)
    # Torch and Ray take seconds to import, which a wrong setting need not wait for.
    if args.dry_run:
        from retdm.onray.dry_run import describe_run

        print("\n".join(describe_run(config, url=home, workers=workers, resume=args.resume)))
        return 0
    from retdm.onray.launch import run_on_ray

    result = run_on_ray(
        config,
        storage=args.storage,
        name=name,
        workers=workers,
        resume=args.resume,
        profile=profile,
    )
    print(metric_table(result["metrics"], dataset=result["data"], method=config.method))
    print(f"result: {join_url(args.storage, name, 'result.json')}")
    print(f"TensorBoard: tensorboard --logdir {join_url(args.storage, name, 'tensorboard')}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
