"""JSON that two programs would read differently, or that a program would die of."""

import json

import pytest

from retdm.json_input import DEEPEST, is_text, parse_json


def test_json_is_read_as_usual():
    value = {"a": [1, 2.5, None, {"b": "é"}], "c": {}}
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode("utf-8-sig")) == value


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2, "a": 1}', '[{"x": {"a": 1, "a": 2}}]'])
def test_a_key_that_is_there_twice_is_refused_wherever_it_is(text):
    with pytest.raises(ValueError, match="an object has the key 'a' twice"):
        parse_json(text)


@pytest.mark.parametrize("depth", [DEEPEST + 1, 3000, 100_000])
def test_deep_nesting_is_refused(depth):
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        with pytest.raises(ValueError, match="nested more than 100 deep"):
            parse_json(text)


def test_half_a_character_is_no_text():
    assert is_text("é🐕")
    assert not is_text(json.loads('"\\ud83d"'))
