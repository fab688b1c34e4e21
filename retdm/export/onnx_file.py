"""Writes a model as ONNX, and sees that ONNX Runtime gives what PyTorch does.

The graph takes `images`, uint8 of shape (batch, 3, size, size), RGB, for any batch, and gives
`scores`, in [0, 1], and `embeddings`. Labels, thresholds and preprocessing are in its metadata.
"""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from retdm.errors import CheckpointError, ConfigError
from retdm.export.bundle import preprocessing
from retdm.methods import Method
from retdm.predictor import Predictor
from retdm.predictor.bundle import need

TOLERANCE = 1e-4
_BATCHES = (1, 2, 5)
_MOST_BYTES = 2_000_000_000
"""Of weights: one file of ONNX ends at 2 GiB."""
_WITHOUT = {
    "cnn-rnn": "its beam search takes as many steps as an image needs",
    "lmmo-knn": "it looks for neighbours among its training images",
}
"""Methods that are no fixed graph, and why."""


def check_method(model: Predictor) -> None:
    """See that the model can be written.

    Raises:
        ConfigError: If it is no fixed graph or too large, or a package is missing.
    """
    name = model.config.method
    if name in _WITHOUT:
        raise ConfigError(
            f"method {name} cannot be written as ONNX: {_WITHOUT[name]}; use --bundle"
        )
    size = sum(v.numel() * v.element_size() for v in model.method.state_dict().values())
    if size > _MOST_BYTES:
        raise ConfigError(f"{size} bytes of weights are too many for ONNX; use --bundle")
    need("onnx", "onnxscript", "onnxruntime", to="writing ONNX")


def write_onnx(path: Path, model: Predictor) -> None:
    """Write the file `path`; its numbers are not checked.

    Raises:
        ConfigError: If the network has something that ONNX lacks.
    """
    pixels = torch.from_numpy(_images(2, size=model.decoder.size, seed=0))
    with _quiet():
        try:
            program = torch.onnx.export(
                _Graph(model.method).eval(),
                (pixels,),
                dynamo=True,
                verbose=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["images"],
                output_names=["scores", "embeddings"],
            )
        # Whatever of torch, onnxscript and ONNX does not like a network has its own errors.
        except Exception as error:
            reason = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise ConfigError(
                f"backbone {model.config.model.backbone!r} cannot be written as ONNX ({reason}); "
                "use --bundle"
            ) from error
    assert program is not None
    program.model.metadata_props.update(_metadata(model))
    program.save(str(path), external_data=False)


def largest_differences(path: Path, model: Predictor) -> tuple[float, float]:
    """How far ONNX Runtime is from PyTorch on the CPU, over batches of several sizes.

    Returns:
        Of the scores, and of the embeddings in shares of their largest number.

    Raises:
        CheckpointError: If ONNX Runtime cannot run the file.
    """
    import onnxruntime

    scores, embeddings = [0.0], [0.0]
    graph = _Graph(model.method).eval()
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for rows in _BATCHES:
            pixels = _images(rows, size=model.decoder.size, seed=rows)
            found = session.run(["scores", "embeddings"], {"images": pixels})
            with torch.inference_mode():
                wanted = [part.numpy() for part in graph(torch.from_numpy(pixels))]
            scores.append(_difference(found[0], wanted[0]))
            size = max(float(np.abs(wanted[1]).max()), 1e-12)
            embeddings.append(_difference(found[1], wanted[1]) / size)
    # Its errors share no base but Exception.
    except Exception as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise CheckpointError(
            f"ONNX Runtime does not run what was written ({reason}); use --bundle"
        ) from error
    return max(scores), max(embeddings)


class _Graph(nn.Module):
    """From pixels to scores and embeddings, as `Method.scores` and `Method.embed`."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(
        self, images: UInt8[Tensor, "batch 3 size size"]
    ) -> tuple[Float[Tensor, "batch labels"], Float[Tensor, "batch embed"]]:
        embeddings = self.method.embed(images)
        return self.method.probabilities(self.method.logits(embeddings)).float(), embeddings


def _images(rows: int, *, size: int, seed: int) -> UInt8[np.ndarray, "rows 3 size size"]:
    """Like photos in that neighbouring pixels are alike, with noise on top."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 230, (rows, 3, 5, 5)))
    smooth = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear").numpy()
    return (smooth + rng.uniform(0, 25, smooth.shape)).astype(np.uint8)


def _difference(found: Any, wanted: Any) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found.astype(np.float64) - wanted).max())


def _metadata(model: Predictor) -> dict[str, str]:
    """What a program needs beside the graph; ONNX holds texts alone."""
    return {
        "labels": json.dumps(model.labels),
        "thresholds": json.dumps(model.thresholds().tolist()),
        "preprocessing": preprocessing(model).model_dump_json(),
        "run": model.origin.run,
        "checkpoint": model.origin.checkpoint,
        "data_digest": model.origin.data_digest,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells its own developers much that means nothing to its users."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
