"""The COCO reader: image-level labels, and files that are not as they should be."""

import json

import pytest

from retdm.config import parse
from retdm.datasets.coco import CocoOptions, read_coco
from retdm.errors import ConfigError, DatasetError

ONE = CocoOptions(annotations="instances.json")


def labels(dataset):
    return {r.key: [dataset.labels.names[i] for i in r.labels] for r in dataset.records}


def test_columns_follow_category_ids_and_labels_count_once(coco):
    found = read_coco(coco(), ONE)
    assert found.labels.names == ("dog", "people", "kite")
    assert labels(found) == {"p7": ["dog", "kite"], "p3": [], "p5": ["people"]}
    assert [r.split for r in found.records] == [None] * 3


def test_crowds_can_be_ignored_and_empty_images_dropped(coco):
    options = CocoOptions(annotations="instances.json", crowd="ignore", empty="drop")
    assert labels(read_coco(coco(), options)) == {"p7": ["dog", "kite"]}


def test_one_file_for_each_split(coco, photos):
    source = coco("instances_train.json")
    coco("instances_val.json", images=[{"id": 7, "file_name": "q.jpg"}], annotations=[])
    photos(source / "images", ["q.jpg"])
    files = {"train": "instances_train.json", "test": "instances_val.json"}
    found = read_coco(source, CocoOptions(annotations=files))
    assert {r.key: r.split for r in found.records} == {
        **{"p7": "train", "p3": "train", "p5": "train"},
        "q": "test",
    }


def test_folders_must_be_named_for_the_same_splits():
    table = {"annotations": "all.json", "images": {"train": "train2014"}}
    with pytest.raises(ConfigError, match=r"images names folders for \['train'\], annotations"):
        parse(CocoOptions, table, source="x.toml")


def test_splits_must_have_the_same_categories(coco):
    source = coco("a.json")
    coco("b.json", categories=[{"id": 2, "name": "cat"}], annotations=[])
    with pytest.raises(DatasetError, match=r"b.json: category 2 is 'cat', in a.json it is 'dog'"):
        read_coco(source, CocoOptions(annotations={"train": "a.json", "test": "b.json"}))


def test_a_photo_in_two_splits_is_a_duplicate_key(coco):
    source = coco("a.json")
    coco("b.json")
    with pytest.raises(
        DatasetError, match=r"b.json: images\[0\]: duplicate key 'p7', already used by a.json"
    ):
        read_coco(source, CocoOptions(annotations={"train": "a.json", "test": "b.json"}))


def test_missing_file(tmp_path):
    with pytest.raises(DatasetError, match=r"instances.json: no such annotation file; check --s"):
        read_coco(tmp_path, ONE)


@pytest.mark.parametrize("keep", [0, 1, 40, 200])
def test_truncated_json(coco, keep):
    path = coco() / "instances.json"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        DatasetError, match=rf"not valid JSON \(.*{keep} bytes\); it may be cut off"
    ):
        read_coco(path.parent, ONE)


def test_json_that_is_not_text(coco):
    path = coco() / "instances.json"
    path.write_bytes(b"\xff\xfe\x00" * 5)
    with pytest.raises(DatasetError, match="not valid JSON"):
        read_coco(path.parent, ONE)


def test_json_of_another_kind(coco):
    path = coco() / "instances.json"
    path.write_text("[1]")
    with pytest.raises(DatasetError, match="holds a list, not a COCO object"):
        read_coco(path.parent, ONE)


IMAGE = {"id": 7, "file_name": "p7.jpg"}
FAULTS = {
    "unknown category": (
        {"annotations": [{"image_id": 7, "category_id": 41}]},
        r"instances.json: annotations\[0\]: unknown category id 41 \(of image 7\); 'categories' h",
    ),
    "unknown image": (
        {"annotations": [{"image_id": 8, "category_id": 40}]},
        r"annotations\[0\]: image id 8 is not in 'images'; add it or remove the annotation",
    ),
    "image id twice": ({"images": [IMAGE, IMAGE]}, r"images\[1\]: duplicate image id 7"),
    "category id twice": (
        {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
        r"categories\[1\]: category id 1 is listed twice",
    ),
    "no name": (
        {"images": [{"id": 7}], "annotations": []},
        r"images\[0\]: 'file_name' is missing, wanted str",
    ),
    "id is text": (
        {"images": [{**IMAGE, "id": "7"}]},
        r"images\[0\]: 'id' is '7', wanted int; repair the file",
    ),
    "id is huge": (
        {"images": [{**IMAGE, "id": [10**4000]}]},
        r"images\[0\]: 'id' is \[10{198}\.\.\., wanted int; repair the file",
    ),
    "half a character": (
        {"categories": [{"id": 40, "name": "\ud83d"}], "annotations": []},
        r"label '\\ud83d' has half a character in it, which no file can hold; rename it",
    ),
    "row is null": ({"annotations": [None]}, r"annotations\[0\] is None, not an object"),
    "no categories": ({"categories": []}, "'categories' is empty"),
    "no table": ({"annotations": None}, "has no list 'annotations'; a COCO instances file has"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_rows_are_named(coco, tmp_path, fault):
    tables, message = FAULTS[fault]
    path = coco() / "instances.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **tables}))
    with pytest.raises(DatasetError, match=message):
        read_coco(tmp_path, ONE)


def test_absent_photo_names_file_row_and_value(coco):
    source = coco()
    (source / "images/p3.jpg").unlink()
    with pytest.raises(
        DatasetError, match=r"instances.json: images\[1\]: photo 'p3.jpg' is not in .*/images; "
    ):
        read_coco(source, ONE)


def test_outlines_are_not_kept_while_parsing(coco):
    rows = [{"image_id": 7, "category_id": 2, "segmentation": [[0.0] * 1000]}]
    assert labels(read_coco(coco(annotations=rows), ONE))["p7"] == ["dog"]


def test_a_key_that_is_there_twice_is_refused_as_no_two_programs_agree_on_it(coco):
    path = coco() / "instances.json"
    path.write_text(path.read_text().replace('"images"', '"images": [], "images"'))
    with pytest.raises(
        DatasetError, match=r"not valid JSON \(an object has the key 'images' twic"
    ):
        read_coco(path.parent, ONE)
