"""Fuzz one reader guided by what it runs through: `python tests/fuzz/guided.py manifest`.

Where `test_fuzz.py` damages sound inputs at random, Atheris (libFuzzer) keeps those that reach new
lines of retdm and goes on from them. It ends at the first finding, whose input it writes to
`crash-...`, or after `--runs` inputs. `pip install atheris` (Linux, CPython up to 3.13).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "cluster/local")]
with atheris.instrument_imports(include=["retdm"]):
    from tests.fuzz import annotations, models, runs, shard_sets
    from tests.fuzz.limits import attempt

TARGETS = {**annotations.TARGETS, **shard_sets.TARGETS, **runs.TARGETS, **models.TARGETS}


def main() -> None:
    """Run libFuzzer, which ends the process."""
    parser = argparse.ArgumentParser(description="Fuzz one reader, guided by coverage.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=10_000, help="inputs (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer (%(default)s)")
    asked = parser.parse_args()
    target = TARGETS[asked.target]
    work, corpus = (Path(tempfile.mkdtemp(prefix="retdm-fuzz-")) for _ in range(2))
    seeds, read = target.prepare(work)
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)

    def one(content: bytes) -> None:
        outcome = attempt(read, content, peak_bytes=target.peak_bytes)
        if outcome.finding:
            raise AssertionError(outcome.finding)

    limits = [f"-runs={asked.runs}", f"-seed={asked.seed}", "-timeout=20", "-rss_limit_mb=8192"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
