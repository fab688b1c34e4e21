import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retdm.data.index import Member, format_index, parse_index
from retdm.errors import ShardError

NAME = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=8)
MEMBER = st.builds(
    Member, ext=NAME, offset=st.integers(0, 2**50), size=st.integers(0, 2**40), name=NAME
)


@given(st.lists(st.lists(MEMBER, min_size=1, max_size=3).map(tuple), max_size=5))
@settings(deadline=None)
def test_an_index_is_read_back_as_written(samples: list[tuple[Member, ...]]) -> None:
    assert parse_index(format_index(samples), name="x.idx") == samples


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"v1.2 1\n",
        b"v1.1 0\n",
        b"v1.2 1\njpg 0 1 a.jpg",
        b"v1.2 2\njpg 0 1 a.jpg\n",
        b"v1.2 1\njpg 0 1\n",
        b"v1.2 1\njpg zero 1 a.jpg\n",
        b"v1.2 1\njpg -1 1 a.jpg\n",
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_index_is_named(content: bytes) -> None:
    with pytest.raises(ShardError, match=r"^x\.idx: not a whole offset index \(.*\); rebuild"):
        parse_index(content, name="x.idx")


@pytest.mark.parametrize("name", ["a b.jpg", "", "a\n.jpg"])
def test_names_with_white_space_are_refused(name: str) -> None:
    with pytest.raises(ShardError, match="cannot stand in an offset index"):
        format_index([(Member("jpg", 0, 1, name),)])
