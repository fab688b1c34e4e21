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
  python -m retdm.predict s3://bucket/runs/pets-1 s3://bucket/all/ --ray --parquet s3://bucket/out/
  ray job submit --working-dir . -- python -m retdm.predict s3://bucket/runs/pets-1 \
      s3://bucket/pets --split train --ray --parquet s3://bucket/train-scores --bad skip

An IMAGE is a file, a folder (with all below), an s3:// URL of an object or a prefix; @FILE stands
for those that the lines of a text file name (an image whose own name begins with @ is ./@NAME).
Each image gets exactly one row. JSON lines are {"image", "labels", "scores": {LABEL: score},
"error"}; tables have a column "score.LABEL" for each label. Files appear when all is done, whole
or not at all.

With --ray, for millions of images, FILE is a folder: its files part-NNNNN-of-NNNNN are a data set
(for pyarrow.dataset, ray.data.read_parquet, pandas.read_parquet) of the same rows, with the same
scores to the bit on the same kind of device (CPU, GPU) and versions of torch and retdm. A part
appears when it is done, whole; _SUCCESS, with the numbers of rows and of bad images, when all are.
The same command goes on with the parts that are missing, whatever ended it; another one, another
kind of device and other versions are refused there; but --bad, --actors and --workers may change.
Image files are known by their names: one that is replaced between two runs goes unnoticed.
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
    asked = Asked(**vars(args))
    if asked.ray and len(asked.files) != 1:
        parser.error("with --ray give one of --json, --csv and --parquet, the folder of its parts")
    if not asked.ray and (asked.actors or asked.part_size):
        parser.error("--actors and --part-size go with --ray")
    # Importing torch takes seconds, which wrong usage need not wait for.
    if asked.ray:
        from retdm.onray.installed import need_ray

        need_ray()
        from retdm.predict.batch import predict_in_parts

        predict_in_parts(asked)
        return 0
    from retdm.predict.program import predict

    predict(asked)
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
        "split (default: data.loader_workers of the run); with --ray, of each actor",
    )
    _add_ray(parser)
    return parser


def _add_ray(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ray",
        action="store_true",
        help="score on the Ray cluster of RAY_ADDRESS (in a job: its own; without one, on this "
        "machine) and write parts; all its machines must see model, images and output",
    )
    parser.add_argument(
        "--actors",
        type=console.count,
        metavar="N",
        help="processes on the cluster, each with a model, its share of the cores and a GPU if "
        "there are any (default: one for each GPU; without any, one for each machine)",
    )
    parser.add_argument(
        "--part-size",
        type=console.count,
        metavar="N",
        help="images in a part, rounded up to whole batches, or of a split to whole shards "
        "(default: 10000)",
    )


if __name__ == "__main__":
    # Before torch is imported: without a GPU its threads share the cores with those that decode,
    # and would keep them busy with waiting for one another.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(console.run(lambda: main(sys.argv[1:])))
