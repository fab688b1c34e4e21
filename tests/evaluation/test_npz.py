"""Archives of arrays from strangers, beyond what the tests of score files try."""

import io
import zipfile

import numpy as np
import pytest

from retdm.evaluation.npz import read_npz


def _archive(save=np.savez, **arrays):
    out = io.BytesIO()
    save(out, **arrays)
    return out


def test_the_chosen_arrays_come_back_with_the_names_of_all():
    arrays, names = read_npz(_archive(a=np.arange(3), b=np.ones(2)), only=("b", "c"))
    assert (list(arrays), names) == (["b"], ["a", "b"])
    assert list(read_npz(_archive(a=np.arange(3), b=np.ones(2)))[0]) == ["a", "b"]


def test_arrays_that_grow_a_thousandfold_are_refused():
    zeros = _archive(np.savez_compressed, a=np.zeros(10 << 20))
    with pytest.raises(ValueError, match=r"its \d+ bytes grow to 83886\d+, which could be a dec"):
        read_npz(zeros)
    assert read_npz(zeros, only=()) == ({}, ["a"])


def test_a_header_that_even_the_tokenizer_refuses_is_damage():
    text = b"("
    member = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(ValueError, match="EOF in multi-line statement"):
        read_npz(out)
