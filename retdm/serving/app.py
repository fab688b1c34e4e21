"""The HTTP interface of a model: paths, parameters, and what is refused with which status."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from fastapi import APIRouter, FastAPI, File, HTTPException, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from jaxtyping import Float32, UInt8
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException as AnyHTTPException
from torch import Tensor

from retdm import __version__
from retdm.errors import BadSampleError, ConfigError
from retdm.evaluation.fitted import Thresholds
from retdm.predictor import Predictor
from retdm.predictor.labelling import names, predictions
from retdm.serving.answers import FAILED, About, Health, Prediction, Predictions, Problem
from retdm.serving.limits import Limits
from retdm.serving.page import page
from retdm.serving.scoring import Scoring

log = logging.getLogger(__name__)

Score: TypeAlias = Callable[
    [UInt8[Tensor, "3 side side"]], Awaitable[Float32[np.ndarray, " labels"]]
]
"""Gives the scores of one image, in a batch with whatever else is asked for."""
Probability: TypeAlias = Annotated[float, Query(ge=0, le=1)]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "not HTTP or not multipart as it should be"},
    408: {"description": "took too long to arrive or to be answered"},
    413: {"description": "too many images, or too large"},
    415: {"description": "not multipart/form-data, or its names not in UTF-8"},
    422: {"description": "wrong parameters"},
    500: {"description": "the service failed"},
    503: {"description": "overloaded; try again after Retry-After seconds"},
}
_EVERYWHERE = (400, 408, 413, 500, 503)


def build_app(scoring: Scoring, score: Score, limits: Limits) -> FastAPI:
    """The interface as an ASGI application.

    Args:
        scoring: Decodes, and has the model.
        score: Of one decoded image.
        limits: Of a request.
    """
    out = FastAPI(
        title="retdm",
        version=__version__,
        summary=f"Labels of images, by the model of {scoring.model.origin.run}",
        docs_url=None,  # Swagger's page wants scripts of another host
        redoc_url=None,
    )
    out.include_router(_predicting(scoring, score, limits))
    _describing(out, scoring.model, limits)
    out.add_exception_handler(AnyHTTPException, _refuse)
    out.add_exception_handler(RequestValidationError, _refuse_parameters)
    out.add_exception_handler(Exception, _fail)
    return out


class _MultipartRoute(APIRoute):
    """Refuses other bodies before they are read as forms, where they would only seem empty.

    So it does parameters that it does not know, which would only seem to be heeded.
    """

    def get_route_handler(self) -> Callable[[Request], Any]:
        """See `APIRoute`."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            found = request.headers.get("content-type", "")
            kind, options = parse_options_header(found)
            if kind.strip() != b"multipart/form-data":
                raise HTTPException(
                    415, f"the body is {found or 'of no type'}; send multipart/form-data"
                )
            # Python's codecs are many; some make of a name what JSON cannot hold, or fail.
            charset = options.get(b"charset", b"utf-8").decode("latin-1")
            if charset.lower() not in ("utf-8", "utf8"):
                raise HTTPException(415, f"the charset of the body is {charset}; send utf-8")
            known = [field.alias for field in self.dependant.query_params]
            for name in request.query_params:
                if name not in known:
                    there = " and ".join(known)
                    raise HTTPException(422, f"there is no parameter {name!r}, only {there}")
            return await handle(request)

        return checked


def _predicting(scoring: Scoring, score: Score, limits: Limits) -> APIRouter:
    out = APIRouter(route_class=_MultipartRoute)
    model = scoring.model

    @out.post("/v1/predict", responses=_refusals(*_REFUSALS), operation_id="predict")
    async def predict(
        images: Annotated[
            list[UploadFile], File(min_length=1, description="image files, one or several")
        ],
        threshold: Annotated[
            Probability | Literal["fitted", "fixed"] | None,
            Query(
                description="score from which on a label is predicted; `fitted` on the "
                "validation split, one for each label; `fixed`, the run's"
            ),
        ] = None,
        top: Annotated[
            int | None, Query(ge=1, description="predict so many labels instead, the best")
        ] = None,
    ) -> Predictions:
        """Predict the labels of images.

        JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 or AVIF. Photos are turned upright by
        their EXIF orientation. An image that cannot be decoded, or has too many pixels, has an
        error in place of labels and scores; the others of its request are answered.

            curl -F images=@a.jpg -F images=@b.jpg "http://HOST:PORT/v1/predict?top=3"
        """
        thresholds = _chosen(model, threshold, top)
        _check_sizes(images, limits)

        async def one(file: UploadFile) -> Prediction:
            name = file.filename or ""
            try:
                pixels = await scoring.decode(await file.read())
            except BadSampleError as error:
                return Prediction(image=name, labels=None, scores=None, error=str(error))
            return _prediction(name, await score(pixels), model, thresholds, top)

        return Predictions(predictions=list(await asyncio.gather(*map(one, images))))

    return out


def _describing(out: FastAPI, model: Predictor, limits: Limits) -> None:
    about = _about(model, limits)

    @out.get("/v1/model", responses=_refusals(*_EVERYWHERE), operation_id="model")
    async def describe() -> About:
        """Say which model answers, with its labels and thresholds."""
        return about

    @out.get("/healthz", responses=_refusals(*_EVERYWHERE), operation_id="health")
    async def health() -> Health:
        """Say whether a replica answers."""
        return Health()

    @out.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        allowed = "default-src 'none'; style-src 'unsafe-inline'"
        return HTMLResponse(page(out.openapi()), headers={"Content-Security-Policy": allowed})


def _chosen(
    model: Predictor, threshold: float | Literal["fitted", "fixed"] | None, top: int | None
) -> Thresholds:
    if threshold is not None and top is not None:
        raise HTTPException(422, "there are both threshold and top; give one of them")
    try:
        return model.thresholds(threshold)
    except ConfigError as error:
        raise HTTPException(422, str(error)) from error


def _check_sizes(images: list[UploadFile], limits: Limits) -> None:
    if len(images) > limits.images:
        raise HTTPException(
            413, f"there are {len(images)} images; send {limits.images} or fewer at once"
        )
    for file in images:
        if (file.size or 0) > limits.image_bytes:
            raise HTTPException(
                413,
                f"image {file.filename!r} has {file.size} bytes; send {limits.image_bytes} "
                "or fewer, a smaller copy of it, say",
            )


def _prediction(
    name: str,
    scores: Float32[np.ndarray, " labels"],
    model: Predictor,
    thresholds: Thresholds,
    top: int | None,
) -> Prediction:
    rows = scores[None]
    [labels] = names(rows, predictions(rows, thresholds, top=top), model.labels)
    given = dict(zip(model.labels, scores.tolist(), strict=True))
    return Prediction(image=name, labels=labels, scores=given)


def _about(model: Predictor, limits: Limits) -> About:
    return About(
        run=model.origin.run,
        checkpoint=model.origin.checkpoint,
        digest=model.digest,
        data_digest=model.origin.data_digest,
        labels=list(model.labels),
        thresholds=dict(zip(model.labels, model.thresholds().tolist(), strict=True)),
        fitted=model.fitted is not None,
        image_size=model.decoder.size,
        max_images=limits.images,
        max_image_bytes=limits.image_bytes,
        max_image_pixels=limits.image_pixels,
    )


def _refusals(*statuses: int | str) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, **_REFUSALS[status]} for status in statuses}


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    return JSONResponse(
        Problem(error=str(error.detail)).model_dump(), error.status_code, error.headers
    )


async def _refuse_parameters(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong: dict[str, list[str]] = {}
    for one in error.errors():  # a parameter that can be one of two kinds has two
        wrong.setdefault(str(one["loc"][1]), []).append(one["msg"])
    sentence = "; ".join(f"{name}: {', or: '.join(said)}" for name, said in wrong.items())
    return JSONResponse(Problem(error=sentence).model_dump(), 422)


async def _fail(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises it again behind this answer, so that the log has the traceback.
    return JSONResponse(Problem(error=FAILED).model_dump(), 500)
