"""`python -m retdm.predict`: labels and scores of images, by the model of a run or a bundle."""

import argparse
import os
import sys
from collections.abc import Sequence

from retdm import console
from retdm.predict.asked import Asked

_EXAMPLES = """\
examples:
  python -m retdm.predict s3://bucket/runs/pets-1 photo.jpg
  python -m retdm.predict s3://bucket/runs/pets-1 ~/photos s3://bucket/new/ --json labels.jsonl
  python -m retdm.predict ./pets-bundle ~/photos --csv labels.csv --threshold 0.3 --bad skip
  python -m retdm.predict s3://bucket/runs/pets-1 s3://bucket/pets --split val --parquet v.parquet
  python -m retdm.predict s3://bucket/runs/pets-1 --split test --top 3

An IMAGE is a file, a folder (with all below), an s3:// URL of an object or a prefix. Each image
gets exactly one row. JSON lines are {"image", "labels", "scores": {LABEL: score}, "error"}; tables
have a column "score.LABEL" for each label. Files appear when all is done, whole or not at all.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the program with these command line arguments; returns the exit status."""
    parser = _parser()
    # Intermixed, so that images may stand behind options.
    args = parser.parse_intermixed_args(arguments)
    if args.split is None and not args.images:
        parser.error("give at least one IMAGE, or --split NAME")
    if args.split is not None and len(args.images) > 1:
        parser.error("with --split give one shard set, or none for that of the run")
    # Importing torch takes seconds, which wrong usage need not wait for.
    from retdm.predict.program import predict

    predict(Asked(**vars(args)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m retdm.predict",
        description="Predict labels of images by the model of a trained run or a bundle.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    console.add_model(parser)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="files, folders, s3:// URLs")
    parser.add_argument("--split", help="predict this split of a shard set, the run's by default")
    parser.add_argument("--json", metavar="FILE", help="write JSON lines here, path or URL")
    parser.add_argument("--csv", metavar="FILE", help="write a CSV table here, path or URL")
    parser.add_argument("--parquet", metavar="FILE", help="write a Parquet table here")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--threshold",
        help='scores from which on a label is predicted: "fitted" on the validation split, one '
        'for each label; "fixed", the run\'s; or a number (default: fitted if there are any)',
    )
    which.add_argument(
        "--top", type=console.count, metavar="K", help="predict the K best labels instead"
    )
    parser.add_argument(
        "--bad",
        choices=("error", "skip"),
        default="error",
        help="what an image does that cannot be decoded: end the program, or get a row with the "
        "reason and a warning (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=console.count,
        metavar="N",
        help="images that go through the network together (default: data.batch_size of the run)",
    )
    parser.add_argument(
        "--workers",
        type=console.count,
        metavar="N",
        help="threads that decode files (default: one for each core), or processes that decode a "
        "split (default: data.loader_workers of the run)",
    )
    return parser


if __name__ == "__main__":
    # Before torch is imported: without a GPU its threads share the cores with those that decode,
    # and would keep them busy with waiting for one another.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(console.run(lambda: main(sys.argv[1:])))
