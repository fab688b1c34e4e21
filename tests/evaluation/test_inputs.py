"""What may be evaluated, and what the message says about what may not."""

import numpy as np
import pytest

from retdm.errors import RetdmError
from retdm.evaluation.inputs import ScoresError, checked

SCORES = np.array([[0.25, 0.5], [1.0, 0.0]])
TARGETS = np.array([[True, False], [False, False]])


def test_good_arrays_come_back_as_they_are():
    scores, targets = checked(SCORES.astype(np.float32), TARGETS)
    assert scores.dtype == np.float32
    assert targets.dtype == np.bool_
    np.testing.assert_array_equal(targets, TARGETS)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.float32, bool, list])
def test_targets_may_be_any_kind_of_0_and_1(kind):
    given = TARGETS.astype(int).tolist() if kind is list else TARGETS.astype(kind)
    np.testing.assert_array_equal(checked(SCORES, given)[1], TARGETS)


def test_0_1_predictions_are_scores_too():
    scores, _ = checked(np.array([[1, 0], [True, False]], dtype=np.int64), TARGETS)
    assert scores.dtype == np.float32
    assert scores.tolist() == [[1.0, 0.0], [1.0, 0.0]]


def _with(array, row, column, value):
    out = array.astype(float)
    out[row, column] = value
    return out


@pytest.mark.parametrize(
    "scores, targets, message",
    [
        (_with(SCORES, 1, 0, np.nan), TARGETS, r"scores\[1, 0\] is nan; every score must be a"),
        (_with(SCORES, 0, 1, np.inf), TARGETS, r"scores\[0, 1\] is inf; every score must be a"),
        (_with(SCORES, 0, 0, -0.1), TARGETS, r"scores\[0, 0\] is -0.1; .*through a sigmoid"),
        (SCORES * 3, TARGETS, r"scores\[0, 1\] is 1.5 \(and 1 more such entries\); .*sigmoid"),
        (SCORES, _with(TARGETS, 1, 1, -1), r"targets\[1, 1\] is -1.0; a target is 1 where"),
        (SCORES, _with(TARGETS, 0, 1, np.nan), r"targets\[0, 1\] is nan; a target is 1 where"),
        (SCORES[:, :1], TARGETS, "scores are 2 images x 1 labels but targets are 2 images x 2"),
        (SCORES[0], TARGETS[0], r"scores have 1 dimensions \(2,\); wanted 2, images x labels"),
        (SCORES, TARGETS[None], r"targets have 3 dimensions \(1, 2, 2\); wanted 2"),
        (SCORES[:0], TARGETS[:0], "scores are empty, 0 images x 2 labels; nothing to evaluate"),
        (SCORES[:, :0], TARGETS[:, :0], "scores are empty, 2 images x 0 labels"),
        (SCORES.astype(str), TARGETS, "scores have type <U32; save them as floating-point"),
        (SCORES.astype(complex), TARGETS, "scores have type complex128; save them"),
        (SCORES, TARGETS.astype(object), "targets have type object; save them"),
    ],
)
def test_bad_arrays_are_refused(scores, targets, message):
    with pytest.raises(ScoresError, match=message):
        checked(scores, targets)


def test_the_file_opens_the_message():
    with pytest.raises(RetdmError, match=r"^run/scores\.npz: scores have 1 dimensions"):
        checked(SCORES[0], TARGETS, where="run/scores.npz")
