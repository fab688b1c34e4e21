"""Where Ray Train's controller sees a run's workers."""

from types import SimpleNamespace

import pytest

from retdm.onray.placement import Placement


def placement_of(*silent):
    """Three ranks on two machines; those named have not answered the last question."""
    workers = [
        SimpleNamespace(
            distributed_context=SimpleNamespace(world_rank=rank),
            metadata=SimpleNamespace(node_ip=f"10.0.0.{2 + rank // 2}"),
        )
        for rank in range(3)
    ]
    polls = {rank: object() for rank in silent}
    placement = Placement()
    placement.after_worker_group_start(
        SimpleNamespace(get_workers=lambda: workers, _world_rank_to_ongoing_poll=polls)
    )
    return placement


@pytest.mark.parametrize(
    ("silent", "seen"),
    [
        ([], "on 10.0.0.2"),
        ([0], "on 10.0.0.2"),
        ([2], "on 10.0.0.2, and rank 2 on 10.0.0.3 does not answer"),
        ([2, 1], "on 10.0.0.2, and rank 1 on 10.0.0.2, rank 2 on 10.0.0.3 do not answer"),
    ],
)
def test_a_rank_is_told_with_its_address_and_those_that_are_silent(silent, seen):
    assert placement_of(*silent).seen_from(0) == seen


def test_before_the_first_start_nothing_is_known():
    assert Placement().seen_from(0) == ""
