"""A folder of parts: goes on with the same question, and refuses another."""

import re

import pytest

from retdm.errors import ConfigError
from retdm.predict.cut import cut_files
from retdm.predict.parts import (
    SUCCESS,
    Counts,
    Plan,
    begin,
    complete,
    file_of,
    finished,
    note,
)
from retdm.storage import open_store

PLAN = Plan(
    kind="parquet",
    model="a" * 64,
    checkpoint="epoch-3",
    images="b" * 64,
    rows=10,
    parts=5,
    part_size=2,
    batch_size=2,
    thresholds=(0.5, 0.25),
    top=None,
    torch="2.14.0",
    retdm="0.2.0",
)
PARTS = cut_files(10, part_size=2, batch_size=2)


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def test_the_same_question_goes_on(store):
    begin(store, PLAN)
    begin(store, PLAN.model_copy())
    assert store.names() == ["_parts/plan"]


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"model": "c" * 64}, "the model aaaaaaaaaaaa... (now cccccccccccc...)"),
        ({"checkpoint": "epoch-4"}, "--checkpoint epoch-3 (now epoch-4)"),
        ({"images": "c" * 64}, "other images"),
        ({"images": "c" * 64, "rows": 9}, "the number of images 10 (now 9) and other images"),
        ({"part_size": 4, "parts": 3}, "--part-size 2 (now 4)"),
        ({"batch_size": 1}, "--batch-size 2 (now 1)"),
        ({"thresholds": (0.5, 0.5)}, "other thresholds"),
        ({"top": 3}, "--top none (now 3)"),
        ({"kind": "csv"}, "the format parquet (now csv)"),
        ({"torch": "2.15.0"}, "torch 2.14.0 (now 2.15.0)"),
        ({"retdm": "0.3.0", "device": "cpu"}, "retdm 0.2.0 (now 0.3.0)"),
    ],
)
def test_another_question_is_refused_and_what_differs_is_named(store, changed, said):
    begin(store, PLAN)
    with pytest.raises(ConfigError) as told:
        begin(store, PLAN.model_copy(update=changed))
    assert str(told.value) == (
        f"{store.url}: its parts were begun with {said}; ask for the same again to go on with "
        "them, or give another folder"
    )


def test_parts_of_one_kind_of_device_are_not_gone_on_with_on_another(store):
    on_cpu = PLAN.model_copy(update={"device": "cpu"})
    assert begin(store, PLAN) == PLAN
    assert begin(store, on_cpu) == on_cpu
    # Before a cluster is there, the device is not known.
    assert begin(store, PLAN) == on_cpu
    with pytest.raises(ConfigError, match=r"begun with the device cpu \(now cuda\); ask for the"):
        begin(store, PLAN.model_copy(update={"device": "cuda"}))
    assert begin(store, on_cpu) == on_cpu


def test_a_folder_with_other_files_is_refused(store):
    store.write("notes.txt", b"mine")
    with pytest.raises(ConfigError, match=re.escape("other files already (notes.txt); give")):
        begin(store, PLAN)
    assert store.names() == ["notes.txt"]


def test_a_part_is_finished_when_its_file_and_its_record_are_there(store):
    begin(store, PLAN)
    assert finished(store, PLAN, PARTS) == {}
    store.write(file_of(PARTS[1], PLAN), b"rows")
    assert finished(store, PLAN, PARTS) == {}
    note(store, PARTS[1], Counts(rows=2, bad=1))
    note(store, PARTS[3], Counts(rows=2, bad=0))
    assert finished(store, PLAN, PARTS) == {1: Counts(rows=2, bad=1)}


def test_files_are_numbered_and_say_how_many_there_are():
    names = [file_of(part, PLAN.model_copy(update={"kind": "json"})) for part in PARTS]
    assert names[0] == "part-00000-of-00005.jsonl"
    assert names == sorted(names)


def test_a_damaged_file_is_named(store):
    said = "{}: not what this program writes there; delete it if"
    store.write("_parts/plan", b"{}")
    with pytest.raises(ConfigError, match=said.format("_parts/plan")):
        begin(store, PLAN)
    store.write(file_of(PARTS[1], PLAN), b"rows")
    store.write("_parts/00001", b"{}")
    with pytest.raises(ConfigError, match=said.format("_parts/00001")):
        finished(store, PLAN, PARTS)


def test_all_parts_make_a_success_with_their_counts(store):
    assert complete(store, PLAN, [Counts(rows=2, bad=1)] * 5) == Counts(rows=10, bad=5)
    assert Counts.model_validate_json(store.read(SUCCESS)) == Counts(rows=10, bad=5)


def test_there_is_no_success_without_one_row_for_each_image(store):
    said = r"its parts have 9 rows by their records, and there are 10 images; the folder is dam"
    with pytest.raises(ConfigError, match=said):
        complete(store, PLAN, [Counts(rows=2, bad=0)] * 4 + [Counts(rows=1, bad=0)])
    assert store.names() == []
