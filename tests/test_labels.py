"""The label space and what is said about labels that are not in it."""

import pytest

from retdm.errors import DatasetError
from retdm.labels import LabelSpace


def test_an_unknown_label_names_place_and_nearest():
    space = LabelSpace(("person", "dog"))
    assert space.index("dog", where="x") == 1
    message = r"train\.csv row 118: label 'perosn' is not in the label space \(2 labels\); did you"
    with pytest.raises(DatasetError, match=message):
        space.index("perosn", where="train.csv row 118")


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "is empty"), (("a", "a"), "'a' is listed twice"), (("a", " "), "name is blank")],
)
def test_impossible_spaces_are_refused(names, message):
    with pytest.raises(DatasetError, match=message):
        LabelSpace(names)


def test_differences_are_put_in_words():
    space = LabelSpace(("a", "b"))
    assert space.difference(LabelSpace(("a", "b"))) == ""
    assert space.difference(LabelSpace(("b", "a"))) == "same names in another order"
    assert space.difference(LabelSpace(("a", "c"))) == "missing: b; extra: c"


def test_digests_depend_on_order():
    assert LabelSpace(("a", "b")).digest != LabelSpace(("b", "a")).digest
