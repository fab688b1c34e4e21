"""Which steps of a run are to be profiled."""

import re
from dataclasses import dataclass

from retdm.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ProfiledSteps:
    """The steps from `first` to `last`, both included; of the run, from 1, as in its log."""

    first: int
    last: int

    @staticmethod
    def parse(text: str) -> "ProfiledSteps":
        """Read "steps=FROM:TO".

        Raises:
            ConfigError: If it is not that, or not 1 <= FROM <= TO.
        """
        found = re.fullmatch(r"steps=([0-9]{1,12}):([0-9]{1,12})", text)
        if not found:
            raise ConfigError(f"--profile {text!r}: give steps=FROM:TO, for example steps=10:20")
        steps = ProfiledSteps(int(found[1]), int(found[2]))
        if not 1 <= steps.first <= steps.last:
            raise ConfigError(f"--profile {text!r}: need 1 <= FROM <= TO; steps count from 1")
        return steps
