"""The console script: `retdm NAME ...` is `python -m retdm.NAME ...`."""

import difflib
import runpy
import sys

from retdm import __version__

COMMANDS = {
    "shard": "pack photos and labels into shards, check and count them",
    "evaluate": "every metric of a trained run, or of any model's scores",
    "predict": "labels and scores of images",
    "report": "a page about one or several runs",
    "embed": "a split's images in the space of a run, as a file",
    "search": "the nearest images and label sets in that space",
    "export": "a bundle for use elsewhere, or ONNX",
}
_USAGE = "usage: retdm COMMAND ...   (retdm COMMAND --help tells more)"


def main() -> None:
    """Run the command that `sys.argv` names; ends the process."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_USAGE + "\n")
        print("\n".join(f"  {command:10}{what}" for command, what in COMMANDS.items()))
    elif name == "--version":
        print(f"retdm {__version__}")
    elif name in COMMANDS:
        sys.argv = [f"retdm {name}", *rest]
        runpy.run_module(f"retdm.{name}", run_name="__main__", alter_sys=True)
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(COMMANDS)}"
        print(f"{_USAGE}\nerror: no command {name!r}; {hint}", file=sys.stderr)
        sys.exit(2)
