"""How much one HTTP server takes in, of one request and of all at once."""

import json
from dataclasses import asdict, dataclass

_PART_BYTES = 4096
"""For the lines around one image in a multipart body, its name among them."""
_BODIES = 4
"""Largest bodies that are in memory at once; smaller ones may be more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused is more than these."""

    images: int
    """In one request."""
    image_bytes: int
    """Of one image file."""
    image_pixels: int
    """Of one image, of which a file of a few bytes can have many."""
    requests: int
    """At once, in one HTTP server; more are refused."""

    @property
    def body_bytes(self) -> int:
        """Of one request, refused while it is received.

        Example:
            >>> Limits(images=2, image_bytes=1000, image_pixels=9, requests=1).body_bytes
            14288
        """
        return self.images * (self.image_bytes + _PART_BYTES) + _PART_BYTES

    @property
    def held_bytes(self) -> int:
        """Of all requests at once in one HTTP server."""
        return _BODIES * self.body_bytes

    def text(self) -> str:
        """As an environment variable holds them."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> "Limits":
        """From what `text` made.

        Example:
            >>> Limits.of(Limits(2, 1000, 9, 1).text())
            Limits(images=2, image_bytes=1000, image_pixels=9, requests=1)
        """
        return cls(**json.loads(text))
