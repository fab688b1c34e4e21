"""The trained runs that are looked at."""

from tests.trained import trained

__all__ = ["trained"]
