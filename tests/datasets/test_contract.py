"""What every reader satisfies; a new one joins by an entry in EXAMPLES."""

import pytest

from retdm.config import Settings
from retdm.datasets import READERS, read_dataset
from retdm.datasets.registry import parse_options
from retdm.errors import ConfigError, DatasetError

EXAMPLES = {
    "coco": {"annotations": "instances.json"},
    "mirflickr": {"images": "images", "annotations": ".", "concepts": ["dog"]},
    "table": {"file": "labels.csv"},
    "synthetic": {"images": 5, "size": 32},
}


@pytest.fixture(params=list(READERS))
def reader(request):
    return request.param


@pytest.fixture
def source(coco, photos):
    folder = coco()
    photos(folder / "images", ["im1.jpg", "im2.jpg"])
    (folder / "dog.txt").write_text("2\n")
    (folder / "labels.csv").write_text("path,a,b\np7.jpg,1,1\np3.jpg,0,1\n")
    return folder


def read(reader, source):
    return read_dataset(reader, parse_options(reader, EXAMPLES[reader], where="x.toml"), source)


def test_records_are_well_formed_and_the_same_every_time(reader, source):
    found = read(reader, source)
    assert found == read(reader, source)
    assert found.records
    for record in found.records:
        assert list(record.labels) == sorted(set(record.labels))
        assert all(0 <= column < len(found.labels) for column in record.labels)
        assert record.image.is_file()
        assert record.where
        assert str(source) not in record.where
        assert not set(record.key) & set("./ ")


def test_a_missing_source_is_named(reader, tmp_path):
    with pytest.raises(DatasetError, match=r"--source .*gone: no such folder; give the folder"):
        read(reader, tmp_path / "gone")


def test_unknown_options_come_with_the_nearest(reader):
    with pytest.raises(ConfigError, match=r"x.toml: options: unknown setting imagess; did you me"):
        parse_options(reader, {**EXAMPLES[reader], "imagess": 1}, where="x.toml")


def test_options_are_settings_with_help(reader):
    kind = READERS[reader].options
    assert issubclass(kind, Settings)
    assert all(field.description for field in kind.model_fields.values())


def test_unknown_reader():
    with pytest.raises(ConfigError, match=r"x.toml: reader 'coko' is unknown; .*mean 'coco'\?"):
        parse_options("coko", {}, where="x.toml")
