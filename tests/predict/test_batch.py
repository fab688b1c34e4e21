"""What `python -m retdm.predict --ray` does of itself; its actors are objects of this process."""

import json
import logging
import os
import shutil
import signal
from contextlib import nullcontext

import pytest

from retdm import console
from retdm.onray import actors, joining
from retdm.predict.__main__ import main


@pytest.fixture(scope="module")
def url(trained):
    return trained.run("retdm")


@pytest.fixture(scope="module")
def photos(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    assert len(trained.photos(folder)) == 8
    return folder


@pytest.fixture
def ray_does(monkeypatch):
    """Gives the function that `run_actors` is to be."""

    monkeypatch.setattr(joining, "joined", lambda **_: nullcontext())
    monkeypatch.setattr(actors, "machines", lambda: [{"CPU": 2.0}])
    return lambda run: monkeypatch.setattr(actors, "run_actors", run)


def in_turn(make, items, share, **_):
    """Steps of all items as Ray passes them on."""
    work = make(share)
    for item in items:
        yield from work(item)


def run(url, photos, out, *arguments):
    """The program, in parts of 2 images; returns its status."""
    given = [url, photos, "--ray", "--json", out, "--batch-size", "2", "--part-size", "2"]
    return console.run(lambda: main([str(one) for one in (*given, *arguments)]))


def test_a_second_try_whose_error_is_lost_is_no_success(ray_does, url, photos, tmp_path, capsys):
    def losing(*given, **_):
        for step in in_turn(*given):
            if step.part in (0, 3):
                yield step

    ray_does(losing)
    assert run(url, photos, tmp_path / "out") == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {tmp_path}/out: not finished: part-00001-of-00004.jsonl and 1 more; the process "
        "that had it was lost, and its second try ended with an error that Ray did not pass on; "
        "the same command goes on, and tells the error if it comes again"
    )
    assert not (tmp_path / "out/_SUCCESS").exists()

    ray_does(in_turn)
    assert run(url, photos, tmp_path / "out") == 0
    assert (tmp_path / "out/_SUCCESS").exists()


@pytest.mark.parametrize("sent, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_with_one_line_and_the_finished_parts_stay(
    ray_does, url, photos, tmp_path, capsys, caplog, sent, status
):
    def stopped(*given, **_):
        for step in in_turn(*given):
            yield step
            if step.part == 1:
                os.kill(os.getpid(), sent)

    ray_does(stopped)
    out = tmp_path / "out"
    with caplog.at_level(logging.INFO, logger="retdm"):
        assert run(url, photos, out) == status
    assert caplog.messages[-1] == (
        f"{out}: 1 of 4 parts are finished; the same command goes on with the others"
    )
    assert capsys.readouterr().err.splitlines()[-1] == f"stopped by {sent.name}"
    written = (out / "part-00000-of-00004.jsonl").stat().st_mtime_ns

    ray_does(in_turn)
    assert run(url, photos, out) == 0
    assert (out / "part-00000-of-00004.jsonl").stat().st_mtime_ns == written


def test_no_going_on_is_promised_where_the_same_command_fails_again(
    ray_does, url, photos, tmp_path, capsys, caplog
):
    ray_does(in_turn)
    folder, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(photos, folder)
    sorted(folder.iterdir())[5].write_bytes(b"no photo")
    with caplog.at_level(logging.INFO, logger="retdm"):
        assert run(url, folder, out) == 2
        assert caplog.messages[-1] == f"{out}: 2 of 4 parts are finished, and stay"
        assert run(url, folder, out, "--actors", "99") == 2
        assert caplog.messages[-1] == f"{out}: 2 of 4 parts are finished, and stay"
    assert "ask for fewer actors" in capsys.readouterr().err.splitlines()[-1]


def test_a_bad_image_that_is_skipped_has_a_row_with_the_reason(
    ray_does, url, photos, tmp_path, caplog
):
    ray_does(in_turn)
    folder, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(photos, folder)
    bad = sorted(folder.iterdir())[5]
    bad.write_bytes(b"no photo")
    assert run(url, folder, out) == 2
    with caplog.at_level(logging.INFO, logger="retdm"):
        assert run(url, folder, out, "--bad", "skip") == 0
    assert f"{out}: 2 of 4 parts are there already" in caplog.messages
    assert caplog.messages[-1] == f"{out}: complete, 8 rows, 1 of them bad"
    files = sorted(out.glob("part-*"))
    rows = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert [row["image"] for row in rows] == [str(path) for path in sorted(folder.iterdir())]
    assert [row["image"] for row in rows if row["error"]] == [str(bad)]


def test_a_lost_process_is_told_with_what_this_program_can_be_asked_for(
    ray_does, url, photos, tmp_path
):
    said = []

    def noting(*given, less):
        said.append(less)
        return in_turn(*given)

    ray_does(noting)
    assert run(url, photos, tmp_path / "out") == 0
    assert said == ["fewer --actors, lower --workers or --batch-size"]


def test_parts_of_a_gpu_are_refused_without_one(ray_does, url, photos, tmp_path, capsys):
    ray_does(in_turn)
    out = tmp_path / "out"
    assert run(url, photos, out) == 0
    (out / "_parts/00002").unlink()
    plan = out / "_parts/plan"
    plan.write_text(plan.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    assert run(url, photos, out) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"{out}: its parts were begun with the device cuda (now cpu); ask for the same" in told
