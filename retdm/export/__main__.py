"""`python -m retdm.export`: a run's model as a bundle for use elsewhere, or as ONNX."""

import argparse
import sys
from collections.abc import Sequence

from retdm import console

_EXAMPLES = """\
examples:
  python -m retdm.export s3://bucket/runs/pets-1 --bundle ./pets
  python -m retdm.export s3://bucket/runs/pets-1 --bundle s3://bucket/models/pets --onnx pets.onnx
  python -m retdm.export ./pets --onnx pets.onnx

A bundle is a folder with weights (safetensors), settings, labels, thresholds and a model card; it
is what `retdm.load` and `python -m retdm.predict` take, as they take a run. The ONNX file takes
uint8 pixels for any batch and gives scores and embeddings; ONNX Runtime is compared with PyTorch
before it is written. Both need: pip install 'retdm[export]'
"""


def main(arguments: Sequence[str]) -> int:
    """Run the program with these command line arguments; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.bundle is None and args.onnx is None:
        parser.error("give --bundle DIR, --onnx FILE or both")
    # Importing torch takes seconds, which wrong usage need not wait for.
    from retdm.export.program import export

    export(args.run, checkpoint=args.checkpoint, bundle=args.bundle, onnx=args.onnx)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m retdm.export",
        description="Write the model of a trained run for use elsewhere.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN_URL", help="folder or URL of a trained run")
    parser.add_argument("--bundle", metavar="DIR", help="write a bundle here, folder or URL")
    parser.add_argument("--onnx", metavar="FILE", help="write an ONNX file here, path or URL")
    console.add_checkpoint(parser)
    return parser


if __name__ == "__main__":
    sys.exit(console.run(lambda: main(sys.argv[1:])))
