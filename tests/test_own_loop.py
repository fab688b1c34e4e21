"""The loop of retdm/OWN_LOOP.md runs as it stands, trains, and needs no Ray."""

import re
import subprocess
import sys

from tests.conftest import ROOT

TEXT = (ROOT / "retdm/OWN_LOOP.md").read_text()


def test_the_loop_trains():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    found = {}
    exec(compile(code, "OWN_LOOP.md", "exec"), found)
    first, last = ([sum(each) / 20 for each in zip(*part, strict=True)]
                   for part in (found["history"][:20], found["history"][-20:]))  # fmt: skip
    assert last[0] < first[0] / 2
    assert last[1] < first[1] / 2
    assert last[2] < first[2] / 2


def test_its_imports_bring_no_ray():
    lines = [line for line in TEXT.splitlines() if re.match("from retdm|import ", line)]
    check = "import sys; sys.exit('ray' in sys.modules)"
    code = "\n".join([*lines, check])
    assert len(lines) == 4
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
