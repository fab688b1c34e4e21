"""`retdm.load`: a run's model gives the scores of its evaluation, for images in any form."""

import doctest
import io
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

import retdm
from retdm.data.bad import BadSamples
from retdm.data.split import open_split
from retdm.errors import BadSampleError, CheckpointError, ConfigError
from retdm.storage import open_store
from retdm.train.restore import load_checkpoint
from retdm.train.result import load_method
from retdm.train.scoring import score_split

METHODS = ("retdm", "lmmo-knn", "mlspl", "cnn-rnn")


@pytest.fixture(scope="module")
def photos(trained, tmp_path_factory):
    return trained.photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def model(trained):
    return retdm.load(trained.run("retdm"))


def evaluated(url, shards):
    """The scores that evaluation computes of the test split, by its own functions."""
    store, device = open_store(url), torch.device("cpu")
    state = load_checkpoint(store, retdm.load(url).origin.checkpoint, device)
    config, method = load_method(state, device)
    data = open_split(shards, "test")
    return score_split(method, data, config.data, device, bad=BadSamples(0))[0]


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_photos_are_those_of_evaluation(trained, photos, method):
    url = trained.run(method)
    scores = retdm.load(url).scores(photos)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, evaluated(url, trained.shards))


def test_a_photo_may_be_a_path_bytes_an_image_or_an_array(model, photos):
    content = [path.read_bytes() for path in photos]
    opened = [Image.open(io.BytesIO(one)) for one in content]
    expected = model.scores(photos)
    forms = (
        [str(path) for path in photos],
        content,
        opened,
        [np.asarray(image) for image in opened],
        iter(photos),
    )
    for images in forms:
        np.testing.assert_allclose(model.scores(images), expected, atol=1e-6)


def test_a_single_photo_is_a_list_of_one(model, photos):
    expected = model.scores([photos[0]])
    assert expected.shape == (1, len(model.labels))
    for image in (photos[0], str(photos[0]), photos[0].read_bytes(), Image.open(photos[0])):
        np.testing.assert_allclose(model.scores(image), expected, atol=1e-6)


def test_a_stack_of_pixels_is_several_photos(model):
    stack = np.random.default_rng(0).integers(0, 256, (5, 40, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model.scores(stack), model.scores(list(stack)))


def test_no_photo_gives_no_row(model):
    assert model.scores([]).shape == (0, len(model.labels))
    assert model.predict([]) == []
    assert model.embed([]).shape == (0, model.config.model.embedding)


def test_a_photo_is_seen_as_its_camera_was_held(model, photos, tmp_path):
    photo = Image.open(photos[0])
    photo.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    sideways = photo.transpose(Image.Transpose.ROTATE_90)
    sideways.save(tmp_path / "turned.png", exif=exif)
    sideways.save(tmp_path / "sideways.png")
    names = [tmp_path / f"{name}.png" for name in ("upright", "turned", "sideways")]
    upright, turned, as_stored = model.scores([*names])
    np.testing.assert_allclose(turned, upright, atol=1e-6)
    assert np.abs(as_stored - upright).max() > 1e-4
    np.testing.assert_allclose(model.scores(Image.open(names[1]))[0], upright, atol=1e-6)


def test_grey_pixels_are_taken(model):
    grey = np.full((40, 50), 128, dtype=np.uint8)
    colour = np.full((40, 50, 3), 128, dtype=np.uint8)
    np.testing.assert_array_equal(model.scores(grey), model.scores(colour))


def test_the_size_of_batches_changes_scores_in_the_last_bits_alone(model, photos):
    np.testing.assert_allclose(
        model.scores(photos, batch_size=3), model.scores(photos), rtol=1e-5, atol=1e-6
    )


def test_labels_are_those_over_their_fitted_threshold_the_best_first(model, photos):
    scores = model.scores(photos)
    result = json.loads(open_store(model.origin.url).read("result.json"))
    assert dict(zip(model.labels, model.fitted, strict=True)) == result["thresholds"]
    for row, found in zip(scores, model.predict(photos), strict=True):
        wanted = [
            name for name, over in zip(model.labels, row >= model.fitted, strict=True) if over
        ]
        assert sorted(found) == sorted(wanted)
        values = [row[model.labels.index(name)] for name in found]
        assert values == sorted(values, reverse=True)


def test_thresholds_can_be_fixed_or_a_number_or_none_but_a_count(model, photos):
    labels = len(model.labels)
    assert model.thresholds("fixed").tolist() == [0.5] * labels
    assert model.predict(photos, threshold=0.0) == model.predict(photos, top=labels)
    assert model.predict(photos, threshold=1.0) == [[]] * len(photos)
    assert [len(found) for found in model.predict(photos, top=2)] == [2] * len(photos)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"threshold": 1.5}, r"threshold is 1\.5; give \"fixed\", \"fitted\" or a number in \[0"),
        ({"threshold": "high"}, "threshold is 'high'; give"),
        ({"top": 0}, "top is 0; give 1 or more labels"),
        ({"batch_size": 0}, "batch_size is 0; give 1 or more"),
    ],
)
def test_a_wrong_argument_is_named(model, photos, arguments, message):
    with pytest.raises(ConfigError, match=message):
        model.predict(photos, **arguments)


def test_a_bad_photo_is_named_with_its_reason(model, photos):
    with pytest.raises(
        BadSampleError, match=r"^image 1: cannot be decoded \(not an image\); replace the photo or"
    ):
        model.scores([photos[0], b"<html>"])
    with pytest.raises(BadSampleError, match=r"^image 0: is an array of float64 \[4, 4\]; give a"):
        model.scores(np.zeros((4, 4)))
    with pytest.raises(BadSampleError, match=r"^image 0: is a int; give a path"):
        model.scores([3])


def test_a_picture_that_pillow_cannot_finish_is_a_bad_photo(model, photos):
    content = photos[0].read_bytes()
    half = Image.open(io.BytesIO(content[: -len(content) // 10]))
    with pytest.raises(BadSampleError, match=r"image 1: cannot be decoded .*; give a path"):
        model.scores([photos[0], half])
    assert not [t.name for t in threading.enumerate() if t.name.startswith("retdm-decode")]


def test_embeddings_are_what_the_classifier_sees(model, photos):
    embeddings = model.embed(photos)
    assert embeddings.shape == (len(photos), model.config.model.embedding)
    logits = model.method.logits(torch.from_numpy(embeddings))
    np.testing.assert_allclose(logits.detach().sigmoid(), model.scores(photos), atol=1e-6)


def test_embeddings_of_a_fitted_method_are_its_features(trained, photos):
    model = retdm.load(trained.run("lmmo-knn"))
    assert model.embed(photos).shape == (len(photos), model.method.parts["image"].width)


def test_another_checkpoint_has_no_fitted_thresholds(trained):
    url = trained.run("retdm")
    best = retdm.load(url)
    other = retdm.load(url, checkpoint="stage2-epoch001")
    assert (best.fitted is None, other.fitted is None) == (False, True)
    assert other.thresholds().tolist() == [0.5] * len(other.labels)
    with pytest.raises(ConfigError, match="there are no fitted thresholds: they come with the"):
        other.thresholds("fitted")


def test_what_is_no_run_is_said_to_be_none(tmp_path, trained):
    with pytest.raises(CheckpointError, match="so there is no trained run here; check the URL"):
        retdm.load(str(tmp_path))
    with pytest.raises(CheckpointError, match="no checkpoint 'stage9'; it has stage"):
        retdm.load(trained.run("retdm"), checkpoint="stage9")


def test_the_documented_example_runs(trained, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, photo in zip(("a.jpg", "b.jpg"), photos, strict=False):
        (tmp_path / name).write_bytes(photo.read_bytes())
    text = retdm.load.__doc__.replace("# doctest: +SKIP", "")
    text = text.replace("s3://bucket/runs/first", trained.run("retdm"))
    example = doctest.DocTestParser().get_doctest(text, {"load": retdm.load}, "load", None, None)
    found = doctest.DocTestRunner().run(example)
    assert (found.failed, found.attempted) == (0, 6)


def test_importing_the_package_does_not_wait_for_torch():
    code = "import sys, retdm; assert retdm.__version__; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'retdm' has no attribute 'nothing'"):
        retdm.nothing  # noqa: B018
