"""How cells are brought to their ends, with runs that are only pretended."""

import json
import logging
import os
import signal
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from retdm.config import Config
from retdm.console import Stopped
from retdm.errors import CheckpointError, DivergenceError
from retdm.onray import compare_run
from retdm.onray.compare_plan import Cell
from retdm.onray.compare_run import run_cells
from retdm.onray.compare_standing import standing
from retdm.onray.workers import Workers
from retdm.storage import open_store
from tests.checkpoints import publish_epoch


class Runs:
    """Stands for Ray: writes what a run would, fails where told to, and keeps account."""

    def __init__(self):
        self.started, self.starts, self.failing = [], {}, {}
        self.running = self.most = 0
        self.lock = threading.Lock()
        self.gate = None

    def __call__(self, config, *, storage, name, workers, resume):
        with self.lock:
            self.started.append(name)
            self.starts[name] = config.start_from
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            if self.gate:
                self.gate.wait(20)
            if name in self.failing:
                raise self.failing[name]
            store = open_store(f"{storage}/{name}")
            publish_epoch(store, "1", 1)
            settings = config.model_dump(mode="json")
            store.write("run.json", json.dumps({"config": settings}).encode())
            result = {
                "config": settings,
                "reading": {},
                "metrics": {"test": {"mAP": 0.5, "OF1": 0.4}},
            }
            store.write("result.json", json.dumps(result).encode())
            return result
        finally:
            with self.lock:
                self.running -= 1


@pytest.fixture
def runs(monkeypatch):
    fake = Runs()
    monkeypatch.setattr(compare_run, "run_on_ray", fake)
    monkeypatch.setattr(compare_run.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(compare_run.ray, "shutdown", lambda: None)
    return fake


SHARED = Cell("stage1", (), Config(method="bce"), epochs=1)
CELLS = [
    SHARED,
    Cell("bce", ("bce",), Config(method="bce"), "stage1", 1),
    Cell("retdm", ("retdm",), Config(), "stage1", 2),
    Cell("asl", ("asl",), Config(method="asl"), "", 2),
]


def run(folder, cells=CELLS, concurrency=1):
    outcomes = run_cells(
        cells,
        storage=str(folder),
        workers=Workers(1, 1),
        concurrency=concurrency,
        on_outcome=lambda outcome: None,
    )
    return {outcome.cell.name: outcome for outcome in outcomes}


def test_a_shared_stage_goes_first_and_the_others_start_from_its_end(runs, tmp_path):
    found = run(tmp_path)
    assert runs.started == ["stage1", "bce", "retdm", "asl"]
    assert runs.starts["retdm"] == f"{tmp_path}/stage1/end"
    assert runs.starts["asl"] == runs.starts["stage1"] == ""
    assert {outcome.how for outcome in found.values()} == {"trained"}


def test_finished_cells_are_reused_and_a_stage_nobody_needs_is_not_run(runs, tmp_path):
    run(tmp_path, CELLS[:2])
    (tmp_path / "stage1/result.json").unlink()
    runs.started.clear()
    found = run(tmp_path, CELLS[:2])
    assert runs.started == []
    assert found["bce"].how == "reused"
    assert found["bce"].result["metrics"]["test"]["mAP"] == 0.5


def test_a_failing_cell_stops_no_other_and_is_tried_again(runs, tmp_path):
    runs.failing = {"bce": DivergenceError("not finite"), "asl": RuntimeError("one\nlast line")}
    found = run(tmp_path)
    assert {name: outcome.error for name, outcome in found.items()} == {
        "stage1": "",
        "bce": "not finite",
        "retdm": "",
        "asl": "RuntimeError: last line",
    }
    runs.failing, runs.started = {}, []
    again = run(tmp_path)
    assert runs.started == ["bce", "asl"]
    assert [again[name].how for name in ("retdm", "bce", "asl")] == ["reused", *["trained"] * 2]


def test_what_starts_from_a_failed_stage_fails_with_its_reason(runs, tmp_path):
    runs.failing = {"stage1": DivergenceError("not finite")}
    found = run(tmp_path)
    assert found["retdm"].error == "the stage it starts from failed (stage1): not finite"
    assert found["asl"].how == "trained"
    assert runs.started == ["stage1", "asl"]


def test_no_more_cells_at_a_time_than_asked(runs, tmp_path):
    runs.gate = threading.Barrier(2)  # each of two pairs waits for its other half
    run(tmp_path, concurrency=2)
    assert runs.most == 2
    assert sorted(runs.started[:2]) == ["asl", "stage1"]


def test_a_begun_cell_keeps_what_it_started_from(runs, tmp_path):
    store = open_store(str(tmp_path / "bce"))
    publish_epoch(store, "3", 4)
    store.write("run.json", json.dumps({"config": {"start_from": "elsewhere/end"}}).encode())
    assert standing(str(tmp_path), CELLS[1]).text == "resumed after stage 3 epoch 4"
    run(tmp_path)
    assert runs.starts["bce"] == "elsewhere/end"


def test_a_result_under_other_defaults_is_not_taken_for_ours(runs, tmp_path):
    run(tmp_path, CELLS[3:])
    path = tmp_path / "asl/result.json"
    result = json.loads(path.read_text())
    result["config"]["asl"]["clip"] = 0.2
    path.write_text(json.dumps(result))
    with pytest.raises(CheckpointError, match=r"defaults were others \(asl.clip: 0.2 -> 0.05\)"):
        standing(str(tmp_path), CELLS[3])
    assert "defaults were others" in run(tmp_path, CELLS[3:])["asl"].error


def test_other_defaults_of_what_the_method_ignores_do_not_matter(runs, tmp_path):
    cell = Cell("bce", ("bce",), Config(method="bce"), unused=(("asl",), ("loss", "tau")))
    run(tmp_path, [cell])
    path = tmp_path / "bce/result.json"
    result = json.loads(path.read_text())
    result["config"]["asl"]["clip"] = result["config"]["loss"]["tau"] = 0.2
    path.write_text(json.dumps(result))
    assert standing(str(tmp_path), cell).text == "finished, reused"
    # The same where it only began: it goes on under the settings that it was begun with.
    path.rename(tmp_path / "bce/run.json")
    (tmp_path / "bce/run.json").write_text(json.dumps({"config": result["config"]}))
    assert run(tmp_path, [cell])["bce"].result["config"]["asl"]["clip"] == 0.2


def test_a_result_under_other_readings_is_not_taken_for_ours(runs, tmp_path):
    run(tmp_path, CELLS[3:])
    other = replace(CELLS[3], reading={"ties": "in random order"})
    with pytest.raises(CheckpointError, match="ties: 'not stated' -> 'in random order'") as error:
        standing(str(tmp_path), other)
    assert "remove this folder" in str(error.value)


def test_a_cell_that_was_begun_under_other_readings_does_not_go_on(runs, tmp_path):
    store = open_store(str(tmp_path / "asl"))
    publish_epoch(store, "1", 1)
    record = {"config": CELLS[3].config.model_dump(mode="json")}
    store.write("run.json", json.dumps(record | {"reading": {"ties": "by number"}}).encode())
    cell = replace(CELLS[3], reading={"ties": "at random"})
    assert run(tmp_path, [cell])["asl"].error.startswith(
        f"{tmp_path}/asl: begun when the method took other readings (ties: 'by number' -> "
        "'at random'); use another --run-name"
    )
    assert runs.started == []
    # An earlier version wrote no readings.
    store.write("run.json", json.dumps(record).encode())
    assert standing(str(tmp_path), cell).text == "resumed after stage 1 epoch 1"
    assert run(tmp_path, [cell])["asl"].how == "trained"


def test_progress_tells_count_time_and_rest(runs, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run(tmp_path)
    lines = [line for line in caplog.messages if line.startswith("cell ")]
    assert lines[1].startswith("cell 2 of 4: bce, seed 0: test mAP 0.5000, OF1 0.4000; took 0:00")
    assert "elapsed 0:00:0" in lines[1]
    assert "left" in lines[1]
    assert "left" not in lines[3]


def test_ctrl_c_ends_the_runs(runs, tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(compare_run.ray, "shutdown", lambda: ended.append(True))

    def interrupt(outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(
            CELLS,
            storage=str(tmp_path),
            workers=Workers(1, 1),
            concurrency=1,
            on_outcome=interrupt,
        )
    assert ended


def test_a_signal_ends_all_when_the_runs_at_work_have_answered(runs, tmp_path, monkeypatch):
    said, ended = {}, []
    monkeypatch.setattr(
        "retdm.onray.stopping.Words",
        lambda: SimpleNamespace(put=lambda word, text="": said.update({word: text}), get=said.get),
    )
    monkeypatch.setattr(compare_run.ray, "shutdown", lambda: ended.append("too early"))
    monkeypatch.setattr("retdm.onray.stopping.console.at_end", lambda last: ended.append("at end"))

    def trains(config, *, storage, name, **_):
        said[f"heard {storage}/{name}"], said[f"left {storage}/{name}"] = "", "7"
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(20)

    monkeypatch.setattr(compare_run, "run_on_ray", trains)
    with pytest.raises(Stopped, match=r"^stopped by SIGTERM at step 7; the checkpoint is written"):
        run(tmp_path, CELLS[-1:])
    assert ended == ["at end"]
