"""Files of cluster/ with an operator's names in them, as cluster/RUNNING.md has sed do it."""

import functools
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNNING = ROOT / "cluster/RUNNING.md"
LINES = re.findall(r"^    (s/.*/g)$", RUNNING.read_text(), re.MULTILINE)
"""What RUNNING.md says to write into mine.sed."""
NAMES = {line.split("/")[1].replace(r"\b", ""): line.split("/")[2] for line in LINES}
"""Each word, and what the example puts in its place."""


@functools.cache
def filled(path: Path) -> str:
    """What `sed -f mine.sed` makes of a file."""
    done = subprocess.run(
        ["sed", "-f", "/dev/stdin", str(path)],
        input="\n".join(LINES), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout
