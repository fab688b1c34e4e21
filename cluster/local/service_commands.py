"""The command line that all programs of local services have: start, stop, env."""

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path


def service_parser(
    doc: str | None, folder_of: str, purposes: Mapping[str, str]
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """A parser of commands which take `--dir`, and that of `start`, for more options.

    Args:
        doc: Of the program's module; its examples stand below the options.
        folder_of: Whose the folder `--dir` is.
        purposes: Of each command; `start` is one of them.
    """
    purpose, _, examples = (doc or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=purpose,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    parsers = {
        name: commands.add_parser(name, help=text, description=text)
        for name, text in purposes.items()
    }
    for command in parsers.values():
        command.add_argument("--dir", type=Path, required=True, help=f"folder of {folder_of}")
    return parser, parsers["start"]


def print_exports(variables: Mapping[str, str]) -> None:
    """Print lines that a shell can evaluate."""
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
