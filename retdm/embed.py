"""`python -m retdm.embed`: a split's images in the space that a run has learned, as a file."""

import argparse
import sys
from collections.abc import Sequence

from retdm import console
from retdm.storage.place import open_file_to_write

_EXAMPLES = """\
examples:
  python -m retdm.embed s3://bucket/runs/pets-1 --split test --out pets.npz
  python -m retdm.embed ./pets-bundle --data s3://bucket/pets --split train --out s3://bucket/e.npz

The file is a NumPy archive without pickles: embeddings [images, embed] float32, keys [images],
targets [images, labels] bool, labels [labels], and model, which made it.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the program with these command line arguments; returns the exit status."""
    args = _parser().parse_args(arguments)
    # Importing torch takes seconds, which wrong usage need not wait for.
    from retdm.data.split import open_split
    from retdm.predictor import load
    from retdm.retrieval.embedded import embed_split, to_npz

    store, name = open_file_to_write(args.out, option="--out")
    model = load(args.model, checkpoint=args.checkpoint)
    settings = model.config.data
    data = open_split(args.data or settings.url, args.split or settings.test_split)
    embedded = embed_split(model, data)
    store.write(name, to_npz(embedded))
    size = " x ".join(map(str, embedded.embeddings.shape))
    print(f"{args.out}: {size}, {embedded.model}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m retdm.embed",
        description="Embed the images of a split by the model of a trained run or a bundle.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    console.add_model(parser)
    parser.add_argument("--data", metavar="URL", help="shard set (default: that of the run)")
    parser.add_argument("--split", help="of the shard set (default: the run's test split)")
    parser.add_argument("--out", required=True, metavar="FILE", help=".npz to write, path or URL")
    return parser


if __name__ == "__main__":
    sys.exit(console.run(lambda: main(sys.argv[1:])))
