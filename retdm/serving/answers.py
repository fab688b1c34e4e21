"""What the service answers, as its OpenAPI schema shows it."""

from pydantic import BaseModel, Field

FAILED = "the service failed at this request; its log says why"
"""Said with status 500, in place of words that are not for clients."""


class Prediction(BaseModel):
    """One image, with either labels and scores or an error."""

    image: str = Field(description="the file's name, as it was sent")
    labels: list[str] | None = Field(description="the predicted ones, the best first")
    scores: dict[str, float] | None = Field(description="the probability of each label")
    error: str | None = Field(default=None, description="why the image cannot be used")


class Predictions(BaseModel):
    """All images of a request, in its order."""

    predictions: list[Prediction]


class About(BaseModel):
    """The model that answers."""

    run: str = Field(description="name of the run that trained it")
    checkpoint: str
    digest: str = Field(description="SHA-256 over weights, labels and image size")
    data_digest: str = Field(description="of the shard set it was trained on")
    labels: list[str]
    thresholds: dict[str, float] = Field(
        description="a label is predicted from this score on, if the request does not say"
    )
    fitted: bool = Field(description="whether the thresholds were fitted on the validation split")
    image_size: int = Field(description="pixels of a side, which images are reduced to")
    max_images: int = Field(description="in one request")
    max_image_bytes: int = Field(description="of one image file")
    max_image_pixels: int = Field(description="of one image; one that has more has an error")


class Health(BaseModel):
    """A replica with the model answers."""

    status: str = "ok"


class Problem(BaseModel):
    """Why there is no other answer."""

    error: str
