"""The work on one part, without Ray: the rows of the program that works alone, to the bit."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import retdm
from retdm import console
from retdm.claims import hold
from retdm.data.split import open_split
from retdm.errors import BadSampleError, CheckpointError, ConfigError, StorageError
from retdm.predict.__main__ import main
from retdm.predict.cut import cut_files, cut_split
from retdm.predict.images import find_images
from retdm.predict.parts import WORK, Counts, Plan, finished
from retdm.predict.scorer import Scorer, Scoring, Task
from retdm.storage import open_store

BATCH = 3


@pytest.fixture(scope="module")
def url(trained):
    return trained.run("retdm")


@pytest.fixture(scope="module")
def photos(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    trained.photos(folder, split="train")
    return folder


@pytest.fixture
def held(tmp_path):
    with hold(open_store(str(tmp_path / "out")), WORK) as held:
        yield held


def scoring(url, held, parts, split=None, **changed):
    model = retdm.load(url)
    plan = Plan(
        kind="json",
        model=model.digest,
        checkpoint=model.origin.checkpoint,
        images="",
        rows=parts[-1].last,
        parts=len(parts),
        part_size=1,
        batch_size=BATCH,
        thresholds=tuple(model.thresholds().tolist()),
        top=None,
        torch=str(torch.__version__),
        retdm=retdm.__version__,
    )
    given = Scoring(url, "best", plan, held, split, skip_bad=False, workers=None)
    return dataclasses.replace(given, **changed)


def alone(tmp_path, *arguments):
    out = tmp_path / "alone.jsonl"
    given = [*arguments, "--json", out, "--batch-size", BATCH]
    assert console.run(lambda: main([str(one) for one in given])) == 0
    return out.read_bytes()


def written(held):
    store = held.store
    return b"".join(store.read(name) for name in store.names("part-"))


def test_parts_of_files_are_the_rows_of_the_program_alone(url, photos, held, tmp_path):
    files = find_images([str(photos)])
    parts = cut_files(len(files), part_size=7, batch_size=BATCH)
    assert len(parts) > 2
    given = scoring(url, held, parts)
    score = Scorer(given, cores=2, device="cpu")
    for part in reversed(parts):
        steps = list(score(Task(part, files[part.first : part.last])))
        assert sum(step.images for step in steps) == len(part)
        assert [step.counts for step in steps[-2:]] == [None, Counts(rows=len(part), bad=0)]
    assert written(held) == alone(tmp_path, url, photos)
    done = finished(held.store, given.plan, parts)
    assert sum(counts.rows for counts in done.values()) == len(files)


@pytest.mark.parametrize("processes", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_parts_of_a_split_are_the_rows_of_the_program_alone(
    url, trained, held, tmp_path, processes
):
    data = open_split(trained.shards, "train")
    parts = cut_split(data.shard_sizes, part_size=1, batch_size=BATCH)
    assert len(parts) > 1
    assert any(part.last not in np.cumsum(data.shard_sizes) for part in parts)
    split = (trained.shards, "train")
    given = scoring(url, held, parts, split, workers=processes or None)
    score = Scorer(given, cores=1, device="cpu")
    for part in parts:
        list(score(Task(part)))
    assert written(held) == alone(tmp_path, url, "--split", "train")


def test_a_bad_image_ends_the_part_or_has_a_row(url, photos, held, tmp_path):
    folder = tmp_path / "spoiled"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"no photo")
    for path in sorted(photos.iterdir())[:3]:
        (folder / f"b{path.name}").write_bytes(path.read_bytes())
    files = find_images([str(folder)])
    (part,) = parts = cut_files(len(files), part_size=9, batch_size=BATCH)
    given = scoring(url, held, parts)
    with pytest.raises(BadSampleError, match=r"a\.jpg: .*have it listed .* by --bad skip"):
        list(Scorer(given, cores=1, device="cpu")(Task(part, files)))
    assert written(held) == b""
    *_, last = Scorer(dataclasses.replace(given, skip_bad=True), cores=1, device="cpu")(
        Task(part, files)
    )
    assert last.counts == Counts(rows=4, bad=1)
    assert json.loads(written(held).splitlines()[0])["error"].startswith(f"{folder}/a.jpg: ")


def test_another_model_at_the_place_is_refused(url, trained, held):
    given = scoring(url, held, cut_files(1, part_size=1, batch_size=BATCH))
    other = dataclasses.replace(given, model=trained.run("lmmo-knn"))
    with pytest.raises(CheckpointError, match="the model changed while its predictions were"):
        Scorer(other, cores=1, device="cpu")


@pytest.mark.parametrize("name", ["torch", "retdm"])
def test_another_version_on_a_machine_is_refused(url, held, name):
    given = scoring(url, held, cut_files(1, part_size=1, batch_size=BATCH))
    there = given.plan.model_copy(update={name: "0.0.1"})
    with pytest.raises(
        ConfigError, match=r"^this machine has torch .*0\.0\.1.*; install the same"
    ):
        Scorer(dataclasses.replace(given, plan=there), cores=1, device="cpu")


def test_who_lost_the_folder_writes_nothing_there(url, photos, held):
    files = find_images([str(photos)])
    (part, *_) = parts = cut_files(len(files), part_size=7, batch_size=BATCH)
    score = Scorer(scoring(url, held, parts), cores=1, device="cpu")
    held.store.delete(held.name)
    with pytest.raises(StorageError, match="is not this prediction's any more"):
        list(score(Task(part, files[: part.last])))
    assert written(held) == b""


def test_images_and_parts_may_be_on_s3(url, photos, tmp_path, s3):
    root = open_store(s3.url())
    for path in sorted(photos.iterdir())[:5]:
        root.write(f"in/{path.name}", path)
    files = find_images([f"{root.url}/in/"])
    parts = cut_files(len(files), part_size=3, batch_size=BATCH)
    with hold(open_store(f"{root.url}/out"), WORK) as held:
        score = Scorer(scoring(url, held, parts), cores=1, device="cpu")
        for part in parts:
            list(score(Task(part, files[part.first : part.last])))
        assert written(held) == alone(tmp_path, url, f"{root.url}/in/")
