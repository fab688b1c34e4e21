"""Files of a run that are not what it wrote."""

import pytest
from pydantic import BaseModel

from retdm.errors import CheckpointError, NotFoundError
from retdm.storage import open_store
from retdm.train.run_file import read_checked


class Wanted(BaseModel):
    name: str
    sizes: dict[str, int] = {}


@pytest.fixture
def read(tmp_path):
    def write(content):
        (tmp_path / "x.json").write_bytes(content)
        return read_checked(open_store(str(tmp_path)), "x.json", Wanted, what="a thing")

    return write


def test_fields_that_nobody_asked_for_stay(read):
    assert read(b'{"name": "a", "more": [1]}') == {"name": "a", "more": [1]}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", r"not JSON \(Expecting value.*\); restore the file, or use another --run-name"),
        (b"\xff", r"not JSON \(.*decode"),
        (b"[" * 100_000, r"not JSON \(nested more than 100 deep\)"),
        (b'{"name": "a", "name": "b"}', r"not JSON \(an object has the key 'name' twice\)"),
        (b'{"x": ' + b"9" * 5000 + b"}", r"not JSON \(Exceeds the limit"),
        (b"[]", r"not a thing; restore the file, .*\(the file: Input should be an object\)"),
        (b"{}", r"not a thing; .*\(name: Field required\)"),
        (b'{"name": 1}', r"not a thing; .*\(name: Input should be a valid string\)"),
        (
            b'{"name": "a", "sizes": {"b": "1"}}',
            r"not a thing; .*\(sizes\.b: Input should be a val",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_named(read, content, why):
    with pytest.raises(CheckpointError, match=rf"/x\.json: {why}"):
        read(content)


def test_a_file_that_is_not_there_is_another_error(tmp_path):
    with pytest.raises(NotFoundError):
        read_checked(open_store(str(tmp_path)), "x.json", Wanted, what="a thing")
