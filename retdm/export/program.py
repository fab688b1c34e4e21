"""What `python -m retdm.export` does."""

import logging

from retdm.errors import CheckpointError, ConfigError
from retdm.export.bundle import check_place, write_bundle
from retdm.export.measured import measured
from retdm.export.onnx_file import TOLERANCE, check_method, largest_differences, write_onnx
from retdm.predictor import Predictor, load
from retdm.predictor.bundle import is_bundle
from retdm.scratch import Scratch
from retdm.storage import Store, join_url, open_store
from retdm.storage.place import open_file_to_write

log = logging.getLogger(__name__)


def export(url: str, *, checkpoint: str, bundle: str | None, onnx: str | None) -> None:
    """Write a run's model as a bundle, as ONNX, or both.

    Args:
        url: The run; for ONNX alone also a bundle.
        checkpoint: "best", "latest" or the name of one.
        bundle: Folder or URL to write.
        onnx: File to write, path or URL.

    Raises:
        RetdmError: If it cannot be done.
    """
    source = open_store(url)
    if bundle is not None:
        if is_bundle(source):
            raise ConfigError(f"{url}: a bundle already; copy the folder")
        check_place(open_store(bundle), given=f"--bundle {bundle}")
    target = None if onnx is None else open_file_to_write(onnx, option="--onnx")
    model = load(url, checkpoint=checkpoint, device="cpu")
    if target is not None:
        # Refused before anything is written.
        check_method(model)
    if bundle is not None:
        store = open_store(bundle)
        write_bundle(store, model, measured(source, model))
        log.info("%s: bundle of %s, checkpoint %s", store.url, url, model.origin.checkpoint)
    if target is not None:
        _write_onnx(*target, model)


def _write_onnx(store: Store, name: str, model: Predictor) -> None:
    with Scratch("onnx") as folder:
        path = folder / "model.onnx"
        write_onnx(path, model)
        scores, embeddings = largest_differences(path, model)
        if not max(scores, embeddings) <= TOLERANCE:
            raise CheckpointError(
                f"ONNX Runtime differs from PyTorch by {scores:.1e} in scores and "
                f"{embeddings:.1e} (relative) in embeddings, more than {TOLERANCE:g}; use --bundle"
            )
        store.write(name, path)
    log.info(
        "%s: ONNX; ONNX Runtime differs from PyTorch by at most %.1e in scores, %.1e (relative) "
        "in embeddings",
        join_url(store.url, name),
        scores,
        embeddings,
    )
