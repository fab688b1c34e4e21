"""Rendered scenes: the same every time, true to their labels, in real COCO format."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from retdm.console import run
from retdm.datasets.coco import CocoOptions, read_coco
from retdm.datasets.synthetic.__main__ import main
from retdm.datasets.synthetic.generate import generate
from retdm.datasets.synthetic.reader import SyntheticOptions, read_synthetic
from retdm.datasets.synthetic.scene import LABELS, draw_scene, render
from retdm.errors import DatasetError

FILES = {"train": "instances_train.json", "test": "instances_test.json"}


def rng(index, seed=0):
    return np.random.Generator(np.random.Philox(key=[seed, index]))


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        assert generate(tmp_path / name, images=6, seed=1, size=48)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    generate(tmp_path / "c", images=6, seed=2, size=48)
    assert content(tmp_path / "a") != content(tmp_path / "c")


def test_processes_paint_what_one_process_paints(tmp_path, monkeypatch):
    generate(tmp_path / "alone", images=10, seed=1, size=32)
    monkeypatch.setattr("retdm.datasets.synthetic.generate._ALONE", 1)
    generate(tmp_path / "many", images=10, seed=1, size=32)
    assert content(tmp_path / "alone") == content(tmp_path / "many")


def test_the_coco_reader_reads_them(tmp_path):
    generate(tmp_path, images=10, seed=0, size=48)
    found = read_coco(tmp_path, CocoOptions(annotations=FILES))
    assert found.labels.names == LABELS
    assert Counter(r.split for r in found.records) == {"train": 8, "test": 2}
    for record in found.records:
        index = int(record.key.removeprefix("scene-"))
        assert {LABELS[i] for i in record.labels} == draw_scene(rng(index)).labels
        with Image.open(record.image) as image:
            image.load()
            assert (image.format, max(image.size)) == ("JPEG", 48)


def test_boxes_lie_in_the_picture():
    for index in range(30):
        source = rng(index)
        scene = draw_scene(source)
        image, boxes = render(scene, source, size=64)
        assert {label for label, _ in boxes} == scene.labels
        for label, (left, top, width, height) in boxes:
            assert min(left, top) >= 0, label
            assert min(width, height) >= 1, label
            assert left + width <= image.width, label
            assert top + height <= image.height, label


def test_labels_hang_together_and_are_neither_rare_nor_common():
    scenes = [draw_scene(rng(i)).labels for i in range(3000)]
    shares = {name: sum(name in s for s in scenes) / len(scenes) for name in LABELS}
    assert all(0.08 < share < 0.35 for share in shares.values()), shares
    assert 0.15 < sum(shares.values()) / len(LABELS) < 0.22
    assert all("sea" in s for s in scenes if "boat" in s)
    assert not any(s & {"sun", "sunset"} for s in scenes if "stars" in s)
    moon = [s for s in scenes if "moon" in s]
    assert sum("stars" in s for s in moon) / len(moon) > 4 * shares["stars"]
    assert any(not s for s in scenes)


def test_a_set_that_is_there_is_kept_and_another_one_refused(tmp_path):
    generate(tmp_path, images=5, seed=0, size=32)
    assert not generate(tmp_path, images=5, seed=0, size=32)
    with pytest.raises(
        DatasetError, match=r"train.json: holds .*'seed': 0.* wanted .*'seed': 1.*"
    ):
        generate(tmp_path, images=5, seed=1, size=32)


def test_an_interrupted_set_is_rendered_again(tmp_path):
    generate(tmp_path, images=5, seed=0, size=32)
    whole = content(tmp_path)
    (tmp_path / FILES["test"]).unlink()
    (tmp_path / "images/scene-000001.jpg").write_bytes(b"")
    assert generate(tmp_path, images=5, seed=0, size=32)
    assert content(tmp_path) == whole


def test_somebody_elses_file_is_not_overwritten(tmp_path):
    (tmp_path / FILES["train"]).write_text("[]")
    with pytest.raises(
        DatasetError, match=r"holds something else, wanted .*choose another folder"
    ):
        generate(tmp_path, images=5, seed=0, size=32)


def test_the_reader_renders_what_is_not_there(tmp_path):
    found = read_synthetic(tmp_path, SyntheticOptions(images=5, size=32))
    assert len(found.records) == 5
    assert json.loads((tmp_path / FILES["test"]).read_text())["info"]["images"] == 5


def test_command_line(tmp_path, capsys):
    arguments = ["--out", str(tmp_path), "--images", "5", "--size", "32"]
    assert run(lambda: main(arguments)) == 0
    assert run(lambda: main(arguments)) == 0
    assert "already there" in capsys.readouterr().out
    assert run(lambda: main([*arguments, "--size", "1"])) == 2
    assert "error: command line: size is 1" in capsys.readouterr().err
