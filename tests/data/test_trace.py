import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from retdm.config import DataSettings
from retdm.data.__main__ import main
from retdm.data.loader import TrainingLoader
from retdm.data.split import open_split
from retdm.errors import ConfigError, ShardError


def trace(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["trace", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def keys_by_batch(lines: list[dict[str, object]]) -> dict[object, list[str]]:
    batches: dict[object, list[str]] = {}
    for line in lines:
        batches.setdefault(line["batch"], []).extend(line["keys"])  # type: ignore[arg-type]
    return batches


def test_global_batches_are_the_same_for_any_world(
    capsys: pytest.CaptureFixture[str], tiny_set: str
) -> None:
    asked = (tiny_set, "--split", "train", "--seed", "1", "--epoch", "2", "--batch-size", "8")
    one = trace(capsys, *asked, "--world-size", "1")
    assert sorted(key for line in one for key in line["keys"]) == sorted(  # type: ignore[attr-defined]
        open_split(tiny_set, "train").table.keys
    )
    for world in (2, 3, 64):
        lines = trace(capsys, *asked, "--world-size", str(world))
        assert [(line["batch"], line["rank"]) for line in lines] == [
            (batch, rank) for batch in range(3) for rank in range(world)
        ]
        assert keys_by_batch(lines) == keys_by_batch(one)
    tail = trace(capsys, *asked, "--start-batch", "1", "--batches", "1")
    assert tail == one[1:2]


def test_digests_are_those_of_the_stored_images(
    capsys: pytest.CaptureFixture[str], tiny_set: str, make_jpeg: Callable[..., bytes]
) -> None:
    for line in trace(capsys, tiny_set, "--batch-size", "8", "--world-size", "2", "--digest"):
        keys, digests = line["keys"], line["sha256"]
        assert isinstance(keys, list)
        numbers = [int(key.removeprefix("photo-")) for key in keys]
        assert digests == [hashlib.sha256(make_jpeg(n)).hexdigest() for n in numbers]


def test_it_shows_what_a_training_run_reads(
    capsys: pytest.CaptureFixture[str], tiny_set: str
) -> None:
    data = open_split(tiny_set, "train")
    for window in (0, 2):
        settings = DataSettings(
            url=tiny_set, batch_size=6, image_size=16, loader_workers=0, shuffle_window=window
        )
        asked = ("--seed", "4", "--epoch", "1", "--batch-size", "6", "--world-size", "3")
        lines = trace(capsys, tiny_set, *asked, "--shuffle-window", str(window))
        for rank in range(3):
            loader = TrainingLoader(data, settings, seed=4, rank=rank, world_size=3)
            read = [
                [data.table.keys[row] for row in batch.indices[batch.valid]]
                for batch in loader.epoch(1)
            ]
            assert [line["keys"] for line in lines if line["rank"] == rank] == read


def test_a_start_past_the_end_is_an_error(
    capsys: pytest.CaptureFixture[str], tiny_set: str
) -> None:
    # 22 samples are 3 batches; at 3 a finished epoch would be resumed.
    assert trace(capsys, tiny_set, "--batch-size", "8", "--start-batch", "3") == []
    with pytest.raises(
        ConfigError,
        match=r"--start-batch is 4, but an epoch of split 'train' has "
        "3 batches of 8; begin earlier",
    ):
        main(["trace", tiny_set, "--batch-size", "8", "--start-batch", "4"])


def test_a_wrong_number_is_explained(capsys: pytest.CaptureFixture[str], tiny_set: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["trace", tiny_set, "--world-size", "0"])
    assert exit_.value.code == 2
    assert "argument --world-size: 0 is less than 1" in capsys.readouterr().err


def test_a_missing_set_is_an_error(tmp_path: object) -> None:
    with pytest.raises(ShardError, match="so there is no finished shard set here"):
        main(["trace", str(tmp_path)])


@pytest.mark.slow
def test_the_program_exits_2_with_one_line_and_survives_a_closed_pipe(tiny_set: str) -> None:
    program = f"{sys.executable} -m retdm.data trace"
    failed = subprocess.run(
        [*program.split(), tiny_set, "--split", "none"], capture_output=True, text=True
    )
    assert failed.returncode == 2
    assert failed.stderr == (
        f"error: {tiny_set}: no split 'none'; this shard set has: train; choose one of them by "
        "--split NAME\n"
    )
    piped = subprocess.run(
        [
            "bash",
            "-c",
            f"{program} {tiny_set} --world-size 3000 | head -n 1; exit ${{PIPESTATUS}}",
        ],
        capture_output=True,
        text=True,
    )
    assert (piped.returncode, piped.stderr) == (0, "")


def test_wrong_s3_keys_are_one_line_and_status_2(
    s3: Any, build_set: Callable[..., Any], make_jpeg: Callable[..., bytes]
) -> None:
    url = s3.url("set")
    build_set(url, [make_jpeg(n) for n in range(4)])
    done = subprocess.run(
        [sys.executable, "-m", "retdm.data", "trace", url],
        env={**os.environ, "AWS_SECRET_ACCESS_KEY": "wrong-secret-4711"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {url}/manifest.json: ")
    assert "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "wrong-secret-4711" not in done.stderr
