"""One HTML page about runs: `python -m retdm.report RUN_URL... --out FILE.html`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from retdm import console
from retdm.errors import ConfigError
from retdm.storage.place import open_file_to_write

if TYPE_CHECKING:
    from retdm.report.run_files import RunFiles
    from retdm.report.run_scores import SplitScores

log = logging.getLogger(__name__)
_EXAMPLES = """\
examples:
  python -m retdm.report s3://bucket/runs/scene-retdm --out report.html
  python -m retdm.report runs/bce runs/asl --out two.html --save-scores b.npz --save-scores a.npz
  python -m retdm.report runs/bce runs/asl --out two.html --scores b.npz --scores a.npz --no-photos
  python -m retdm.report runs/going-on --out now.html --quick

The best checkpoint of each run scores the split, unless --scores or --quick is given. The page
holds small copies of photos and their keys, unless --no-photos is given.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the program with these command line arguments; returns the exit status."""
    args = _parser().parse_args(arguments)
    _check(args)
    store, name = open_file_to_write(args.out, option="--out")
    for url in args.save_scores:
        open_file_to_write(url, option="--save-scores")
    # Importing torch and Plotly takes seconds, which wrong usage need not wait for.
    from retdm.report.run_files import read_runs
    from retdm.report.run_page import run_page

    runs = read_runs(args.runs)
    scores = [] if args.quick else _scores(args, runs)
    log.info("drawing %s", args.out)
    page = run_page(runs, scores, photos=not args.no_photos).encode()
    store.write(name, page)
    print(f"{args.out}: {console.counted(len(runs), 'run')}, {len(page) / 1e6:.1f} MB")
    return 0


def _check(args: argparse.Namespace) -> None:
    for option, files in (("--scores", args.scores), ("--save-scores", args.save_scores)):
        if files and len(files) != len(args.runs):
            raise ConfigError(
                f"{option} is given {console.counted(len(files), 'time')} for "
                f"{console.counted(len(args.runs), 'run')}; give it once for each, in their order"
            )
        if files and args.quick:
            raise ConfigError(f"{option} has no effect with --quick; give one of them")
    if args.scores and args.save_scores:
        raise ConfigError("--save-scores would only copy the files of --scores; give one of them")


def _scores(args: argparse.Namespace, runs: "Sequence[RunFiles]") -> "list[SplitScores]":
    from retdm.config import Config, parse
    from retdm.report.run_scores import by_model, from_file, save

    out = []
    for number, run in enumerate(runs):
        config = parse(Config, dict(run.config), source=run.store.url)
        split = args.split or config.data.test_split
        if args.scores:
            out.append(from_file(run, args.scores[number], data_url=args.data, split=split))
            continue
        found = by_model(run, data_url=args.data, split=split)
        if args.save_scores:
            save(found, args.save_scores[number])
        out.append(found)
    return out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m retdm.report",
        description="Write one self-contained HTML page about one or several runs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN_URL", help="folder or URL of a run")
    parser.add_argument("--out", required=True, metavar="FILE.html", help="the page, path or URL")
    parser.add_argument("--data", default="", metavar="URL", help="shard set (default: the run's)")
    parser.add_argument("--split", default="", help="its split (default: the run's test split)")
    parser.add_argument(
        "--scores",
        action="append",
        default=[],
        metavar="FILE.npz",
        help="take a run's scores from this file, path or URL; once for each run",
    )
    parser.add_argument(
        "--save-scores",
        action="append",
        default=[],
        metavar="FILE.npz",
        help="write them there, for a later --scores; once for each run",
    )
    parser.add_argument(
        "--quick", action="store_true", help="evaluate nothing: only what the run's files say"
    )
    parser.add_argument("--no-photos", action="store_true", help="show no photo and no key")
    return parser


if __name__ == "__main__":
    sys.exit(console.run(lambda: main(sys.argv[1:])))
