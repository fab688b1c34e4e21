"""The log of a run that goes on: lines of steps to be repeated are dropped, and damaged ones."""

import json
import logging

import pytest

from retdm.storage import open_store
from retdm.train.logbook import LOG, Logbook


@pytest.fixture
def go_on(tmp_path):
    """`go_on(content, step)`: the log of a run that had this one and goes on behind a step."""

    def lines(content, step):
        store = open_store(str(tmp_path))
        store.write(LOG, content)
        book = Logbook(store, from_step=step)
        book.write("step", step + 1, {"total": 0.5})
        book.upload()
        book.close()
        return [json.loads(line) for line in store.read(LOG).splitlines()]

    return lines


def _line(step):
    return json.dumps({"kind": "step", "step": step}).encode() + b"\n"


def test_lines_of_steps_that_will_be_repeated_are_dropped(go_on, caplog):
    lines = go_on(_line(1) + _line(2) + _line(3), 2)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[-1]["total"] == 0.5
    assert not caplog.messages


def test_a_last_line_without_its_end_is_not_run_into_the_next_one(go_on):
    assert [line["step"] for line in go_on(_line(1).rstrip(), 1)] == [1, 2]


DAMAGED = (b'{"kind": "st', b"\xff", b"[1]", b"5", b"{}", b'{"step": "1"}', b"", b"[" * 9999)


@pytest.mark.parametrize("damaged", DAMAGED, ids=range(len(DAMAGED)))
@pytest.mark.parametrize("at", ["middle", "end"])
def test_a_damaged_line_is_left_out_and_told(go_on, caplog, damaged, at):
    first, second = (damaged + b"\n", _line(2)) if at == "middle" else (_line(2), damaged + b"\n")
    with caplog.at_level(logging.WARNING):
        lines = go_on(_line(1) + first + second, 2)
    assert [line["step"] for line in lines] == [1, 2, 3]
    number = 2 if at == "middle" else 3
    (told,) = caplog.messages
    assert told.endswith(f"/{LOG}: 1 line of another kind or cut off, left out ({number})")


def test_of_many_damaged_lines_the_first_are_listed(go_on, caplog):
    with caplog.at_level(logging.WARNING):
        assert [line["step"] for line in go_on(b"?\n" * 20 + _line(1), 1)] == [1, 2]
    assert caplog.messages[0].endswith(
        "20 lines of another kind or cut off, left out (1, 2, 3, 4, 5, 6, 7, 8, ...)"
    )


def test_a_torn_last_line_is_left_out(go_on):
    assert [line["step"] for line in go_on(_line(1) + _line(2)[:9], 1)] == [1, 2]
