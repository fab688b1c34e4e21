"""What the jobs' command lines refuse in common."""

import pytest

from retdm.errors import ConfigError
from retdm.onray.options import check_apart
from retdm.storage import open_store


@pytest.mark.parametrize(
    ("home", "data"),
    [
        ("s3://photos/scene/runs/a", "s3://photos/scene"),
        ("s3://photos/scene", "s3://photos/scene/"),
        ("/photos/scene/train", "file:///photos/scene"),
    ],
)
def test_nothing_is_written_into_the_shard_set_that_is_read(home, data):
    told = (
        r"scene.*: this is in the shard set, .*scene; give a --storage outside of it, or another"
    )
    with pytest.raises(ConfigError, match=told):
        check_apart(open_store(home), data)


def test_a_link_into_the_shard_set_is_seen(tmp_path):
    (tmp_path / "scene").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "scene")
    for home in (tmp_path / "runs/a", tmp_path / "other/../scene/a"):
        with pytest.raises(ConfigError, match="this is in the shard set"):
            check_apart(open_store(str(home)), str(tmp_path / "scene"))


@pytest.mark.parametrize(
    ("home", "data"),
    [
        ("s3://photos/runs/scene", "s3://photos/scene"),
        ("s3://photos/scenes", "s3://photos/scene"),
        ("s3://runs/scene", "s3://photos/scene"),
        ("s3://photos", "s3://photos/scene"),
    ],
)
def test_a_place_beside_or_above_it_is_taken(home, data):
    check_apart(open_store(home), data)
