"""Random numbers that are a pure function of integers, on any device and any number of ranks.

A generator would make a draw depend on how many draws came before it, and so on how the batch
is split. Here each draw is named by integers (seed, step, row) and mixed by SplitMix64
(Steele, Lea, Flood, OOPSLA 2014), whose output passes the usual statistical batteries.
"""

from enum import IntEnum, unique

import torch
from jaxtyping import Int64
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MUL_1 = 0xBF58476D1CE4E5B9
_MUL_2 = 0x94D049BB133111EB
_WORD = (1 << 64) - 1


@unique
class Draw(IntEnum):
    """What words are drawn for: as the last name of a key it keeps uses from drawing alike."""

    LABEL_SET_TIES = 1
    COLUMN = 2
    INSTANCE_TIES = 3
    WARP_RANK = 4


def key(*names: int) -> int:
    """Fold integers into one 64-bit key, in [0, 2^64); order matters."""
    state = 0
    for name in names:
        state = _mix_int((state + (name & _WORD) + _GOLDEN) & _WORD)
    return state


def words(base: int, names: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
    """One word in [0, 2^63) for each entry of `names`, under the key `base`.

    Equal names get equal words. `base` is the state and the name is the position in SplitMix64's
    stream, so distinct names never collide before the top bit is dropped.
    """
    return _mix(names * _signed(_GOLDEN) + _signed(base)) & _signed(_WORD >> 1)


def fold(
    base: int, first: Int64[Tensor, "..."], second: Int64[Tensor, "..."]
) -> Int64[Tensor, "..."]:
    """One word in [0, 2^63) for each broadcast pair of names."""
    inner = _mix(first * _signed(_GOLDEN) + _signed(base))
    return _mix(inner + second * _signed(_GOLDEN)) & _signed(_WORD >> 1)


def _mix_int(word: int) -> int:
    word = ((word ^ (word >> 30)) * _MUL_1) & _WORD
    word = ((word ^ (word >> 27)) * _MUL_2) & _WORD
    return word ^ (word >> 31)


def _mix(word: Tensor) -> Tensor:
    """The same on int64: multiplication wraps, and shifts copy the sign, hence the masks."""
    word = (word ^ _shift(word, 30)) * _signed(_MUL_1)
    word = (word ^ _shift(word, 27)) * _signed(_MUL_2)
    return word ^ _shift(word, 31)


def _shift(word: Tensor, bits: int) -> Tensor:
    return torch.bitwise_right_shift(word, bits) & (_WORD >> bits)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word
