"""`python -m retdm.predict --ray` on a real cluster: one row for each image, whoever is killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import background
import pyarrow.dataset
import pyarrow.parquet
import pytest
import ray_head

from retdm import console
from retdm.predict.__main__ import main
from tests.conftest import long
from tests.system.killing import descendants

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
LIMIT_S = 200
PARTS = 7


@dataclass(frozen=True)
class Cluster:
    """A Ray head of this machine."""

    client: dict[str, str]
    """The variables that lead to it."""
    processes: list[int]
    """Its own, whose descendants are its workers."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    client = ray_head.start(folder, num_cpus=2, auth="disabled", tied=True)
    started = background.load_processes(folder / "processes.json").values()
    yield Cluster(client, [process.pid for process in started])
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


def start(cluster, *arguments, actors=2):
    """The program, in parts of 4 images."""
    return subprocess.Popen(
        [sys.executable, "-m", "retdm.predict", *map(str, arguments), *command(actors)],
        env={**os.environ, **cluster.client},
        stderr=subprocess.PIPE,
        text=True,
    )


def command(actors=2):
    return ("--ray", "--actors", str(actors), "--part-size", "4", "--batch-size", "2")


def in_this_process(*arguments):
    """The program where it starts no Ray; returns its status."""
    return console.run(lambda: main([str(one) for one in arguments]))


def alone(url, folder, out):
    """The rows of the program without Ray."""
    assert in_this_process(url, folder, "--batch-size", 2, "--parquet", out) == 0
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
    found = descendants(*cluster.processes).items()
    return {process for process, (command, _) in found if b"ray::MapWorker" in command}


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


def reader_of(photo):
    """A descriptor to write to the one who waits; None while nobody does."""
    try:
        descriptor = os.open(photo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
    os.set_blocking(descriptor, True)
    return descriptor


def test_killed_programs_and_actors_cost_no_row_and_double_none(
    cluster, url, photos, tmp_path, capsys, caplog
):
    folder, photo = photos
    expected = alone(url, folder, tmp_path / "alone.parquet")
    content, out = blocked(photo), tmp_path / "out"
    program = start(cluster, url, folder, "--parquet", out)
    # All parts but the one that waits.
    wait_for(lambda: len(finished(out)) == PARTS - 1, program)
    program.kill()
    _, said = program.communicate()
    assert "7 parts to score by 2 actors, each with 1 core" in said
    written = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}

    assert in_this_process(url, folder, "--parquet", out, "--top", 1, *command()) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(
        f"error: {out}: its parts were begun with --top none (now 1); ask for the same again"
    )

    before = actors(cluster)
    program = start(cluster, url, folder, "--parquet", out)
    killed = wait_for(lambda: actors(cluster) - before, program)
    # So that it has begun with the part.
    writer = wait_for(lambda: reader_of(photo), program)
    for process in killed:
        os.kill(process, signal.SIGKILL)
    os.close(writer)
    wait_for(lambda: actors(cluster) - killed - before, program)
    writer = wait_for(lambda: reader_of(photo), program)
    put_back(photo, content)
    with os.fdopen(writer, "wb") as file:
        file.write(content)
    _, said = program.communicate(timeout=LIMIT_S)
    assert program.returncode == 0, said
    assert f"{out}: 6 of 7 parts are there already" in said
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert data_set(out).equals(expected)
    assert json.loads((out / "_SUCCESS").read_bytes()) == {"rows": 27, "bad": 0}
    assert "predicting [####################] 4/4 image" in said
    assert f"{out}: complete, 27 rows" in said

    with caplog.at_level(logging.INFO, logger="retdm"):
        assert in_this_process(url, folder, "--parquet", out, *command()) == 0
    assert f"{out}: 7 of 7 parts are there already" in caplog.messages
    assert caplog.messages[-1] == f"{out}: complete, 27 rows"


def test_a_signal_and_a_bad_image_end_it_and_the_finished_parts_stay(
    cluster, url, photos, tmp_path
):
    folder, photo = photos
    blocked(photo)
    out = tmp_path / "out"
    program = start(cluster, url, folder, "--json", out, actors=1)
    wait_for(lambda: finished(out), program)
    program.send_signal(signal.SIGTERM)
    _, said = program.communicate(timeout=LIMIT_S)
    assert program.returncode == 143, said
    assert said.splitlines()[-1] == "stopped by SIGTERM"
    assert "of 7 parts are finished; the same command goes on with the others" in said
    assert "Traceback" not in said
    # A file without a record is no finished part.
    done = [path for record in finished(out) for path in out.glob(f"part-{record.name}-*")]
    written = {path: path.stat().st_mtime_ns for path in done}

    photo.unlink()
    photo.write_bytes(b"no photo")
    program = start(cluster, url, folder, "--json", out)
    _, said = program.communicate(timeout=LIMIT_S)
    assert program.returncode == 2
    assert said.splitlines()[-1].startswith(f"error: {photo}: cannot be decoded (")
    assert "Traceback" not in said
    assert "of 7 parts are finished, and stay" in said
    assert not (out / "_SUCCESS").exists()
    assert {path: path.stat().st_mtime_ns for path in written} == written


KILLS = """
import os, signal, sys
from retdm import console
from retdm.onray.actors import Share, run_actors
from retdm.onray.joining import joined

def kills(share):
    def work(item):
        yield item
        if item == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return work

def main():
    with joined():
        print(*run_actors(kills, range(2), Share(actors=1, cpus=1, gpus=0), less="fewer"))
    return 0

sys.exit(console.run(main))
"""


@long
def test_a_part_that_kills_every_process_ends_the_program(cluster):
    done = subprocess.run(
        [sys.executable, "-c", KILLS],
        env={**os.environ, **cluster.client},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: process ")
    assert "died without a word" in last
    assert last.endswith("; the same command goes on")
    assert "Traceback" not in done.stderr
