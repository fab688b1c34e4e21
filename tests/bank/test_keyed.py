"""The keyed random words against the published sequence of SplitMix64."""

import torch

from retdm.bank import keyed

# First outputs of the reference implementation with state 0.
SPLITMIX64 = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
TOP_BIT_OFF = (1 << 63) - 1


def test_words_are_those_of_the_published_generator():
    # Position n of the stream with state 0.
    found = keyed.words(0, torch.tensor([1, 2, 3])).tolist()
    assert found == [word & TOP_BIT_OFF for word in SPLITMIX64]


def test_key_of_one_name_is_the_first_word():
    assert keyed.key(0) == SPLITMIX64[0]


def test_tensor_and_integer_arithmetic_agree():
    words = [0, 1, 2**62 + 12345, 2**63 - 1]
    mixed = keyed._mix(torch.tensor(words)).tolist()
    assert [word % 2**64 for word in mixed] == [keyed._mix_int(word) for word in words]


def test_order_and_every_name_matter():
    keys = [keyed.key(1, 2), keyed.key(2, 1), keyed.key(1), keyed.key(1, 2, 0)]
    assert len(set(keys)) == 4


def test_pairs_differ():
    first, second = torch.arange(50)[:, None], torch.arange(40)
    assert len(keyed.fold(9, first, second).unique()) == 2000


def test_uses_draw_different_words():
    drawn = [keyed.words(keyed.key(0, 0, use), torch.arange(9)).tolist() for use in keyed.Draw]
    assert len({word for words in drawn for word in words}) == 9 * len(keyed.Draw)


def test_bits_are_balanced():
    words = keyed.words(7, torch.arange(4000))
    for bit in range(63):
        assert 1800 < int(((words >> bit) & 1).sum()) < 2200
