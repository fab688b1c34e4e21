"""What the project's pages tell a reader to type."""

import re
import subprocess
from dataclasses import dataclass

from tests.conftest import ROOT

_PROGRAMS = ("python", "make", "ray", "kubectl", "aws", "docker", "eval", "helm", "pip", "retdm")
_SAID = re.compile(rf"(?:\(umask \d+; )?(?:[A-Z_]+=\S+ )*(?:{'|'.join(_PROGRAMS)}) .+")


@dataclass(frozen=True)
class Command:
    """A line of a page that a shell can take."""

    page: str
    line: int
    text: str
    """Without its comment; in one line."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def pages() -> list[str]:
    """All pages of the project but its history, which tells of the past."""
    tracked = subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True)
    return [page for page in tracked.split() if page != "CHANGELOG.md"]


def commands(page: str) -> list[Command]:
    """The commands of a page's indented blocks, from its top to its end."""
    text = (ROOT / page).read_text()
    # As many lines as before, so that the numbers stay right.
    joined = re.sub(r"((?:.*\\\n)+)(.*)", _one_line, text)
    found = []
    for number, line in enumerate(joined.splitlines(), 1):
        said = line.removeprefix("    ").split("  #")[0].strip()
        if line.startswith("    ") and _SAID.fullmatch(said):
            found.append(Command(page, number, said))
    return found


def _one_line(lines: re.Match[str]) -> str:
    whole = re.sub(r"\s*\\\n\s*", " ", lines[0]).rstrip()
    return whole + "\n" * lines[0].count("\n")


def block(page: str, begin: str) -> str:
    """The indented block of a page whose first line begins so, without its indent."""
    lines = (ROOT / page).read_text().splitlines()
    (first,) = [row for row, line in enumerate(lines) if line.startswith("    " + begin)]
    last = first
    while last < len(lines) and (not lines[last] or lines[last].startswith("    ")):
        last += 1
    return "\n".join(line.removeprefix("    ") for line in lines[first:last]).rstrip() + "\n"
