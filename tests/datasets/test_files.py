"""Keys of samples, and paths that must not leave the source."""

import pytest

from retdm.datasets.files import inside, key_of, photo, read_bytes, safe_key
from retdm.errors import DatasetError


@pytest.mark.parametrize(
    "name, key",
    [
        ("1.jpg", "1"),
        ("a/b/c.png", "a__b__c"),
        ("a\\b.jpg", "a__b"),
        ("my photo.v2.jpg", "my_photo_v2"),
        ("été.jpg", "été"),
        ("none", "none"),
        ("-x_1.JPEG", "-x_1"),
        ("dir.d/x", "dir_d__x"),
    ],
)
def test_key_is_the_path_without_suffix_in_safe_letters(name, key):
    assert key_of(name) == key
    assert not set(key) & set("./ \n")


def test_a_given_name_keeps_what_looks_like_a_suffix():
    assert safe_key("v1.5") == "v1_5"


@pytest.mark.parametrize("part", ["/etc/passwd.jpg", "../x.jpg", "a/../../x.jpg", "..\\x.jpg"])
def test_a_path_may_not_leave_the_source(tmp_path, part):
    with pytest.raises(DatasetError, match=r"row 3: path '.*' leaves the source folder; write it"):
        inside(tmp_path, part, where="row 3")


@pytest.mark.parametrize("name", ["gone.jpg", "folder", "nul\0.jpg"])
def test_an_absent_photo_names_row_value_and_remedy(tmp_path, name):
    (tmp_path / "images/folder").mkdir(parents=True)
    wanted = r"t.csv: row 9: photo '.*' is not in .*images; copy it there.*set options.images"
    with pytest.raises(DatasetError, match=wanted):
        photo(tmp_path, "images", name, where="t.csv: row 9", option="options.images")


def test_a_photo_with_a_longer_name_than_a_file_can_have_is_absent(tmp_path):
    with pytest.raises(
        DatasetError, match=r"row 9: photo 'x{199}\.\.\. is not in .*images; copy it"
    ):
        photo(tmp_path, "images", "x" * 5000, where="t.csv: row 9", option="options.images")


def test_an_annotation_file_whose_name_no_file_can_have(tmp_path):
    with pytest.raises(
        DatasetError, match=r"cannot be read \(embedded null byte\); check options"
    ):
        read_bytes(tmp_path / "a\0b", option="options.file")
