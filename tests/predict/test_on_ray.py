"""`python -m retdm.predict --ray` on a real cluster: one row for each image, whoever is killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pyarrow.dataset
import pyarrow.parquet
import pytest
import ray_head

from retdm import console
from retdm.predict.__main__ import main

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
MARK = "RETDM_TEST_PREDICT"
LIMIT_S = 200
PARTS = 7


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The variables that lead to a Ray head, whose processes can be known by a mark."""
    folder = tmp_path_factory.mktemp("ray")
    env = {**os.environ, MARK: uuid.uuid4().hex}
    client = ray_head.start(folder, num_cpus=2, auth="disabled", env=env, tied=True)
    yield {**env, **client}
    ray_head.stop(folder)


@pytest.fixture(scope="module")
def url(trained):
    return trained.run("retdm")


@pytest.fixture
def photos(trained, tmp_path):
    """A folder of 27 photos, and one of them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = trained.photos(folder, split="train")
    assert len(paths) == 27
    return folder, sorted(paths)[13]


def start(cluster, *arguments):
    """The program, in parts of 4 images."""
    return subprocess.Popen(
        [sys.executable, "-m", "retdm.predict", *map(str, arguments), *command()],
        env=cluster,
        stderr=subprocess.PIPE,
        text=True,
    )


def command():
    return ("--ray", "--actors", "2", "--part-size", "4", "--batch-size", "2")


def alone(url, folder, out):
    """The rows of the program without Ray."""
    given = [url, folder, "--batch-size", 2, "--parquet", out]
    assert console.run(lambda: main([str(one) for one in given])) == 0
    return pyarrow.parquet.read_table(out)


def data_set(out):
    """The rows of all parts in order."""
    files = sorted(str(path) for path in out.glob("part-*"))
    assert pyarrow.dataset.dataset(out).count_rows() == sum(
        pyarrow.parquet.read_metadata(file).num_rows for file in files
    )
    return pyarrow.concat_tables([pyarrow.parquet.read_table(file) for file in files])


def actors(cluster):
    """Process numbers of the actors on this test's cluster."""
    found, mark = set(), f"{MARK}={cluster[MARK]}".encode()
    for process in Path("/proc").iterdir():
        try:
            is_actor = (process / "cmdline").read_bytes().startswith(b"ray::MapWorker")
            if is_actor and mark in (process / "environ").read_bytes():
                found.add(int(process.name))
        except OSError:  # no process, or one that has ended
            continue
    return found


def wait_for(what, program):
    """Wait until `what` gives something, and return it."""
    until = time.monotonic() + LIMIT_S
    while not (found := what()):
        assert program.poll() is None, program.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def blocked(photo):
    """Make whoever reads this photo wait until it is written; returns its bytes."""
    content = photo.read_bytes()
    photo.unlink()
    os.mkfifo(photo)
    return content


def put_back(photo, content):
    """The file again, in place of what makes readers wait."""
    photo.with_suffix(".new").write_bytes(content)
    photo.with_suffix(".new").rename(photo)


def finished(out):
    return sorted(out.glob("_parts/0*"))


def test_a_killed_actor_costs_no_row_and_doubles_none(cluster, url, photos, tmp_path, caplog):
    folder, photo = photos
    expected = alone(url, folder, tmp_path / "alone.parquet")
    content, out = blocked(photo), tmp_path / "out"
    program = start(cluster, url, folder, "--parquet", out)
    # All parts but the one that waits.
    wait_for(lambda: len(finished(out)) == PARTS - 1, program)
    killed = actors(cluster)
    for process in killed:
        os.kill(process, signal.SIGKILL)
    wait_for(lambda: actors(cluster) - killed, program)
    writer = wait_for(lambda: reader_of(photo), program)
    put_back(photo, content)
    with os.fdopen(writer, "wb") as file:
        file.write(content)
    _, said = program.communicate(timeout=LIMIT_S)
    assert program.returncode == 0, said
    assert data_set(out).equals(expected)
    assert json.loads((out / "_SUCCESS").read_bytes()) == {"rows": 27, "bad": 0}
    assert "7 parts to score by 2 actors, each with 1 core" in said
    assert "predicting [####################] 27/27 image" in said
    assert f"{out}: complete, 27 rows" in said

    again = [url, folder, "--parquet", out, *command()]
    with caplog.at_level(logging.INFO, logger="retdm"):
        assert console.run(lambda: main([str(one) for one in again])) == 0
    assert f"{out}: 7 of 7 parts are there already" in caplog.messages
    assert caplog.messages[-1] == f"{out}: complete, 27 rows"


def reader_of(photo):
    """A descriptor to write to the one who waits; None while nobody does."""
    try:
        descriptor = os.open(photo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
    os.set_blocking(descriptor, True)
    return descriptor


def test_a_killed_program_goes_on_with_the_parts_that_are_missing(cluster, url, photos, tmp_path):
    folder, photo = photos
    expected = alone(url, folder, tmp_path / "alone.parquet")
    content, out = blocked(photo), tmp_path / "out"
    program = start(cluster, url, folder, "--parquet", out)
    wait_for(lambda: len(finished(out)) == PARTS - 1, program)
    program.kill()
    program.communicate()
    put_back(photo, content)
    written = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}

    other = start(cluster, url, folder, "--parquet", out, "--top", "1")
    _, said = other.communicate(timeout=LIMIT_S)
    assert other.returncode == 2
    assert said.splitlines()[-1].startswith(
        f"error: {out}: its parts were begun with --top none (now 1); ask for the same again"
    )

    program = start(cluster, url, folder, "--parquet", out)
    _, said = program.communicate(timeout=LIMIT_S)
    assert program.returncode == 0, said
    assert f"{out}: 6 of 7 parts are there already" in said
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert data_set(out).equals(expected)


def test_a_bad_image_ends_it_and_the_finished_parts_stay(cluster, url, photos, tmp_path):
    folder, photo = photos
    photo.write_bytes(b"no photo")
    out = tmp_path / "out"
    program = start(cluster, url, folder, "--json", out)
    _, said = program.communicate(timeout=LIMIT_S)
    assert program.returncode == 2
    assert said.splitlines()[-1].startswith(f"error: {photo}: cannot be decoded (")
    assert "Traceback" not in said
    assert "of 7 parts are finished; the same command goes on with the others" in said
    assert not (out / "_SUCCESS").exists()

    program = start(cluster, url, folder, "--json", out, "--bad", "skip")
    _, said = program.communicate(timeout=LIMIT_S)
    assert program.returncode == 0, said
    rows = [json.loads(line) for path in sorted(out.glob("part-*")) for line in path.open()]
    assert len(rows) == 27
    assert [row["image"] for row in rows if row["error"]] == [str(photo)]
    assert f"{out}: complete, 27 rows, 1 of them bad" in said
