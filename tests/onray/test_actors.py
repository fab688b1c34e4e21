"""How a cluster is shared out among actors; running them is tested with `retdm.predict`."""

import re

import pytest

from retdm.errors import ConfigError
from retdm.onray.actors import Share, share_out

HEAD = {"CPU": 0.0, "memory": 1e9}
GPUS = {"CPU": 16.0, "GPU": 4.0}


@pytest.mark.parametrize(
    "machines, actors, share",
    [
        ([HEAD, {"CPU": 2.0}], None, Share(1, 2, 0)),
        ([{"CPU": 2.0}], 2, Share(2, 1, 0)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], None, Share(2, 4, 0)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], 3, Share(3, 4, 0)),
        ([HEAD, GPUS, GPUS], None, Share(8, 4, 1)),
        ([GPUS], 2, Share(2, 8, 1)),
        ([GPUS, {"CPU": 64.0}], None, Share(4, 4, 1)),
    ],
)
def test_cores_are_shared_equally_and_a_gpu_goes_to_each(machines, actors, share):
    assert share_out(machines, actors) == share


@pytest.mark.parametrize(
    "machines, actors, said",
    [
        ([{"CPU": 2.0}], 3, "--actors 3: each needs a CPU core, Ray has 2 cores and 0 GPUs; ask"),
        ([GPUS], 5, "--actors 5: each needs a CPU core and a GPU, Ray has 16 cores and 4 GPUs;"),
        ([HEAD], None, "--actors 1: each needs a CPU core, Ray has 0 cores and 0 GPUs; ask for"),
    ],
)
def test_more_actors_than_there_is_room_for_are_refused(machines, actors, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        share_out(machines, actors)
