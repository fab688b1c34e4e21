"""`python -m retdm.search`: the nearest images and label sets in the space of a trained run."""

import argparse
import sys
from collections.abc import Sequence

from retdm import console
from retdm.errors import ConfigError

_EXAMPLES = """\
examples:
  python -m retdm.search s3://bucket/runs/pets-1 --image photo.jpg
  python -m retdm.search s3://bucket/runs/pets-1 --image photo.jpg --for labels
  python -m retdm.search s3://bucket/runs/pets-1 --label cat --label sofa --among pets.npz -k 20
  python -m retdm.search s3://bucket/runs/pets-1 --measure --json found.json

Searched is the test split of the run's shard set, or what `python -m retdm.embed` has written.
Label sets can be searched and asked for where the method embeds them: retdm, its variants, c2ae.
Needs scikit-learn: pip install 'retdm[search]'
"""


def main(arguments: Sequence[str]) -> int:
    """Run the program with these command line arguments; returns the exit status."""
    args = _parser().parse_args(arguments)
    if args.json is not None and not args.measure:
        raise ConfigError("--json is for the numbers of --measure; add that")
    if args.measure and (args.k is not None or args.wanted is not None):
        raise ConfigError("--measure has its own lists in each direction; leave -k and --for out")
    if args.label and args.wanted == "labels":
        raise ConfigError("--label finds images; leave --for labels out, or give an --image")
    if args.among is not None and args.split is not None:
        raise ConfigError("--among has its split in it; leave --split out")
    # Importing torch takes seconds, which wrong usage need not wait for.
    from retdm.retrieval.program import Asked, search

    search(Asked(**vars(args)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m retdm.search",
        description="Find the nearest images or label sets in the space of a trained run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    console.add_model(parser)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--image", metavar="FILE", help="what is near this image, path or URL?")
    asked.add_argument(
        "--label",
        action="append",
        metavar="NAME",
        help="which images are near this label, or several of them; give it once for each",
    )
    asked.add_argument(
        "--measure",
        action="store_true",
        help="precision@k and mAP@k with each image and label set of the split as a query",
    )
    parser.add_argument(
        "--for",
        dest="wanted",
        choices=("images", "labels"),
        help="what is searched: the split's images (default) or its label sets",
    )
    parser.add_argument(
        "-k", "--top", type=console.count, dest="k", metavar="K", help="list so many (default: 10)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--among", metavar="FILE", help="embeddings of `python -m retdm.embed`")
    where.add_argument("--data", metavar="URL", help="shard set (default: that of the run)")
    parser.add_argument("--split", help="of the shard set (default: the run's test split)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here, path or URL")
    return parser


if __name__ == "__main__":
    sys.exit(console.run(lambda: main(sys.argv[1:])))
