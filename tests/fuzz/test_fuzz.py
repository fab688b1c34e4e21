"""Whatever strangers put into a file: it is read, or refused in one line, soon and in bounds.

A few hundred damaged inputs for each reader, the same in every run. `make fuzz` tries 10,000, and
`RETDM_FUZZ=N` another number; then a line for each reader says what came of them.
"""

import collections
import os
import random
import warnings

import pytest

from tests.fuzz import annotations, models, runs, shard_sets
from tests.fuzz.limits import attempt

INPUTS = int(os.environ.get("RETDM_FUZZ") or 200)
TARGETS = {**annotations.TARGETS, **shard_sets.TARGETS, **runs.TARGETS, **models.TARGETS}


@pytest.mark.timeout(0 if "RETDM_FUZZ" in os.environ else 300)
@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_read_or_refused(name, tmp_path, capsys):
    target = TARGETS[name]
    seeds, read = target.prepare(tmp_path)
    for seed in seeds[:1]:
        sound = attempt(read, seed, peak_bytes=target.peak_bytes)
        assert not sound.finding, sound.finding
        assert not sound.refused
    found: dict[str, tuple[int, bytes]] = {}
    counts: collections.Counter[bool] = collections.Counter()
    slowest, most = 0.0, 0
    for number in range(INPUTS):
        # Each input by itself can be made again from the reader's name and its number.
        rng = random.Random(f"{name} {number}")
        content = target.mutate(rng, rng.choice(seeds))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as programs run; tests make errors of them
            outcome = attempt(read, content, peak_bytes=target.peak_bytes)
        counts[outcome.refused] += 1
        slowest, most = max(slowest, outcome.seconds), max(most, outcome.bytes)
        if outcome.finding:
            found.setdefault(outcome.finding.splitlines()[-1][:60], (number, outcome.finding))
    if "RETDM_FUZZ" in os.environ:
        with capsys.disabled():
            print(
                f"\n{name}: {INPUTS} inputs, {counts[True]} refused, {counts[False]} not, "
                f"slowest {slowest:.2f} s, most {most >> 20} MiB, {len(found)} kinds of findings"
            )
    assert not found, "\n\n".join(f"input {at}: {what}" for at, what in found.values())
