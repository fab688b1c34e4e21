"""Features of all images of a split, streamed once by all ranks and kept on storage."""

import hashlib
import logging

import numpy as np
import torch

from retdm import comm
from retdm.config import Config
from retdm.data.bad import BadSamples
from retdm.data.decode import Decoder
from retdm.data.split import SplitData
from retdm.methods.base import evaluating
from retdm.methods.fitted import FittedMethod
from retdm.storage import Store
from retdm.train import feature_file
from retdm.train.feature_file import Features
from retdm.train.scoring import agree, open_loader

_log = logging.getLogger(__name__)


def split_features(
    method: FittedMethod,
    data: SplitData,
    config: Config,
    store: Store,
    device: torch.device,
    *,
    bad: BadSamples,
) -> Features | None:
    """Features of the centre crops of all images, from storage or by one pass over the shards.

    Every rank must call this; rank 0, which keeps them all in memory, gets them, others None.

    Args:
        method: Whose features they are.
        data: The split.
        config: `data.*` and `model.backbone` are used.
        store: Where runs are kept, and the features of all of them.
        device: Where the network computes.
        bad: Where images that turn out bad are noted.

    Raises:
        BadSampleError: If more images are bad than `bad` allows for.
        StorageError: If shards cannot be read, or features not written.
    """
    about = describe(method, data, config)
    found = None
    if comm.rank() == 0:
        found = feature_file.read(store, about, images=len(data))
    if comm.broadcast_object(found is not None):
        if found is not None:
            bad.add(found.bad, url=data.url)
            _log.info("features: read from %s/%s", store.url, feature_file.file_name(about))
        agree(bad, url=data.url)
        return found
    found = stream(method, data, config, device, bad=bad)
    if found is not None:
        feature_file.write(store, about, found)
        _log.info("features: written to %s/%s", store.url, feature_file.file_name(about))
    return found


def describe(method: FittedMethod, data: SplitData, config: Config) -> dict[str, str | int]:
    """Everything that decides the features of a split, up to the rounding of sums."""
    settings = config.data
    decoder = Decoder.of(
        image_size=settings.image_size, resize=settings.resize, augment=settings.augment
    )
    return {
        "format": 1,
        "data": data.digest,
        "split": data.split,
        "backbone": config.model.backbone,
        "weights": _weights_digest(method.parts["image"]),
        "image_size": decoder.size,
        "resize": decoder.resize,
    }


@torch.inference_mode()
def stream(
    method: FittedMethod,
    data: SplitData,
    config: Config,
    device: torch.device,
    *,
    bad: BadSamples,
) -> Features | None:
    """Compute the features, each image once over all ranks; see `split_features`."""
    loader = open_loader(data, config.data, device, bad=bad)
    first = comm.rank() == 0
    values = np.empty((0, 0), dtype=np.float32)
    seen = np.zeros(len(data), dtype=bool)
    try:
        with evaluating(method):
            for batch in loader.batches():
                local = batch.to(device)
                # Gathered by the batch, so that rank 0 alone holds the features of all images.
                rows = comm.gather_rows(torch.where(local.valid, local.indices, -1))
                part = comm.gather_rows(method.embed(local.images).float())
                if not first:
                    continue
                real = (rows >= 0).cpu().numpy()
                places = rows.cpu().numpy()[real]
                if not len(values):
                    values = np.empty((len(data), part.shape[1]), dtype=np.float32)
                assert not seen[places].any(), "an image was read twice"
                seen[places] = True
                values[places] = part.cpu().numpy()[real]
    finally:
        loader.close()
    agree(bad, url=data.url)
    if not first:
        return None
    left_out = tuple(sample for sample in bad.samples() if sample.split == data.split)
    assert seen.sum() == len(data) - len(left_out), "an image was not read"
    kept = values if seen.all() else values[seen]
    return Features(kept, np.flatnonzero(seen), left_out)


def _weights_digest(net: torch.nn.Module) -> str:
    """SHA-256 of all weights and statistics of a network."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
