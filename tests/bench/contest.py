"""Programs that do the same work, timed in turns on one core.

Each is a process that waits; one runs at a time, for one pass over the images, so that whatever
else the machine does hits all alike. Figures are medians over the rounds after a first, untimed
one; ratios are medians of the ratios within each round.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

PEERS = Path(__file__).resolve().parent / "peers"


@dataclass
class Contestant:
    """One program with its arguments; `cpu_ms` and `wall_ms` are per image, round by round.

    `peak_mib` is the most memory of its main process, libraries included.
    """

    name: str
    program: str
    arguments: list[str]
    python: str = sys.executable
    cpu_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)
    peak_mib: float = 0.0

    def start(self, photos: Path, made: Path, core: int) -> None:
        """Run it until it waits for its turn; what it has to make first, it makes now."""
        self._log = made / f"{self.name}.log"
        self._process = subprocess.Popen(
            [self.python, str(PEERS / self.program), str(photos), str(made), *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            text=True,
            env={**os.environ, "BENCH_CORE": str(core)},
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line == "ready\n":
                return
        raise self._ended()

    def turn(self, *, timed: bool) -> None:
        """One pass over the images."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise self._ended()
        took = json.loads(answer)
        if timed:
            self.cpu_ms.append(1000 * took["cpu_s"] / took["images"])
            self.wall_ms.append(1000 * took["wall_s"] / took["images"])
            self.peak_mib = took["peak_mib"]

    def _ended(self) -> SystemExit:
        return SystemExit(
            f"{self.name}: {self.program} broke off:\n{self._log.read_text()[-4000:]}"
        )

    def end(self) -> None:
        """Let the program end."""
        self._process.communicate()


def compete(
    contestants: list[Contestant], photos: Path, made: Path, *, rounds: int, core: int
) -> None:
    """Fill in the figures of all."""
    for contestant in contestants:
        contestant.start(photos, made, core)
    for number in range(rounds + 1):
        for contestant in contestants:
            contestant.turn(timed=number > 0)
    for contestant in contestants:
        contestant.end()


def ratio(slower: Contestant, faster: Contestant) -> float:
    """How many times the CPU time `slower` takes."""
    return median(a / b for a, b in zip(slower.cpu_ms, faster.cpu_ms, strict=True))


def wall_ratio(slower: Contestant, faster: Contestant) -> float:
    """How many times the wall time `slower` takes."""
    return median(a / b for a, b in zip(slower.wall_ms, faster.wall_ms, strict=True))
