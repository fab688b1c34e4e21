"""How many Ray Train workers a run asks for."""

from dataclasses import dataclass

from retdm.errors import ConfigError


@dataclass(frozen=True)
class Workers:
    """A fixed number of workers, or a range that follows the cluster."""

    low: int
    high: int

    @staticmethod
    def parse(text: str) -> "Workers":
        """Read "N" or "MIN:MAX".

        Raises:
            ConfigError: If it is neither, or not 1 <= MIN <= MAX.
        """
        low, colon, high = text.partition(":")
        if not low.isdecimal() or (colon and not high.isdecimal()):
            raise ConfigError(f"--workers {text!r}: give a number N or a range MIN:MAX")
        workers = Workers(int(low), int(high or low))
        if not 1 <= workers.low <= workers.high:
            raise ConfigError(f"--workers {text!r}: need 1 <= MIN <= MAX")
        return workers

    @property
    def for_ray(self) -> int | tuple[int, int]:
        """As `ScalingConfig.num_workers` takes it."""
        return self.low if self.low == self.high else (self.low, self.high)
