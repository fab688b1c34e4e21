"""Reading .npz archives from strangers."""

import io
import zipfile

import numpy as np
import pytest

from retdm.evaluation.inputs import ScoresError
from retdm.evaluation.score_file import parse_scores

SCORES = np.linspace(0, 1, 12).reshape(4, 3)
TARGETS = SCORES > 0.4


def archive(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back(save):
    out = io.BytesIO()
    save(out, scores=SCORES, targets=TARGETS.astype(np.uint8), names=np.array(["a", "b", "c"]))
    scores, targets = parse_scores(out.getvalue(), name="s.npz")
    np.testing.assert_array_equal(scores, SCORES)
    np.testing.assert_array_equal(targets, TARGETS)


class Bomb:
    def __reduce__(self):
        raise AssertionError("pickled")


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def objects():
    return archive(scores=np.array([[None, {}]], dtype=object), targets=np.array([[1, 0]]))


def damaged():
    content = bytearray(archive(scores=SCORES, targets=TARGETS))
    at = content.index(SCORES.tobytes())
    content[at] ^= 0xFF  # the zip's own checksum notices
    return bytes(content)


def huge_header():
    """A header that claims 2**60 numbers and holds none."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1073741824, 1073741824), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("scores.npy", member)
        file.writestr("targets.npy", npy(TARGETS))
    return out.getvalue()


def raw_members():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("scores", b"text")
        file.writestr("targets", b"text")
    return out.getvalue()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not an .npz archive, or cut short; save it with numpy.savez"),
        (b"PK\x03\x04 nonsense", "not an .npz archive"),
        (npy(SCORES), "not an .npz archive"),
        (archive(scores=SCORES, targets=TARGETS)[:-40], "not an .npz archive, or cut short"),
        (archive(scores=SCORES), r"no array 'targets' \(arrays: scores\); save it with"),
        (archive(y=SCORES, targets=TARGETS), r"no array 'scores' \(arrays: y, targets\)"),
        (archive(), r"no array 'scores' \(arrays: none\)"),
        (objects(), "cannot be read as plain numbers: Object arrays cannot be loaded"),
        (damaged(), "cannot be read as plain numbers: Bad CRC-32"),
        (huge_header(), "cannot be read as plain numbers"),
        (raw_members(), r"scores have type"),
        (archive(scores=SCORES, targets=TARGETS[:2]), "scores are 4 images x 3 labels but targ"),
        (archive(scores=SCORES + 1, targets=TARGETS), "through a sigmoid first"),
    ],
)
def test_bad_files_are_refused(content, message):
    with pytest.raises(ScoresError, match=rf"^s\.npz: .*{message}"):
        parse_scores(content, name="s.npz")
