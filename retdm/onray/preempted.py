"""What workers fail of when they have left a machine that is taken back."""

import ray.exceptions


class Preempted(ray.exceptions.RayActorError):  # type: ignore[misc]
    """What all workers fail of when they have left a machine that is taken back, in order.

    To Ray Train it looks as if the machine were gone, so it starts the workers again at once, and
    does not count it. It would otherwise let them train on until the machine goes, and lose what
    they did since the checkpoint.
    """

    def __init__(self, step: int, node: str = "", deadline_ms: int | None = None) -> None:
        """Of one rank.

        Args:
            step: Steps up to the checkpoint.
            node: Names those that go away; "" if this rank has not heard which.
            deadline_ms: When they will be gone, since 1970; None if nobody said.
        """
        super().__init__(
            error_msg=f"a machine is taken back; checkpoint at step {step} is written",
            preempted=True,
        )
        self.args = (step, node, deadline_ms)
        self.step, self.node, self.deadline_ms = step, node, deadline_ms

    def told(self, now_s: float) -> str:
        """One line for the user, at a time since 1970."""
        when = ""
        if self.deadline_ms is not None:
            when = f" in {max(0.0, self.deadline_ms / 1000 - now_s):.0f} s"
        return (
            f"node {self.node or 'of a worker'} is going away{when} (preemption); checkpoint at "
            f"step {self.step} is written; restarting elsewhere (not counted)"
        )
