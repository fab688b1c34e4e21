"""The end of a run: its best checkpoint on the test split, and `result.json`."""

import contextlib
import hashlib
import platform
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from retdm import __version__, comm
from retdm.config import Config, parse
from retdm.data.split import open_split
from retdm.evaluation import evaluate, fit_thresholds, label_frequency_map, strict_json
from retdm.methods import Method, build_method
from retdm.train.checkpoint import TrainingState
from retdm.train.history import best, kept_checkpoints
from retdm.train.notice import heed
from retdm.train.restore import load_checkpoint
from retdm.train.run import Run
from retdm.train.time_spent import mean_seconds, time_spent

RESULT = "result.json"


def load_method(state: TrainingState, device: torch.device) -> tuple[Config, Method]:
    """The trained method of a checkpoint, in evaluation mode, and the run's settings.

    Raises:
        RetdmError: If the settings are wrong, or the weights are not those of their network.
    """
    config = parse(Config, state.config, source="checkpoint")
    method = build_method(config, labels=len(state.labels), load_weights=False).to(device)
    method.load_state_dict(state.model)
    method.eval()
    return config, method


def conclude(run: Run) -> dict[str, Any]:
    """Evaluate the best checkpoint on the test split and write `result.json`; on every rank.

    The test split is read here for the first time: stages, learning rate, the choice of the
    checkpoint and the fitted thresholds saw the validation split only. With `run.test` false it
    is not read at all, and the metrics are the validation split's.

    Raises:
        Interrupted: On all ranks, if the session has a notice; all checkpoints are on storage.
    """
    meanwhile = partial(heed, run.session, run.progress.step)
    # Rank 0 has waited for its checkpoints to be on storage; the others wait for rank 0.
    comm.barrier()
    kept = comm.broadcast_object(kept_checkpoints(run.store) if comm.rank() == 0 else [])
    name = best(run.history, kept)["checkpoint"]
    state = load_checkpoint(run.store, name, run.session.device)
    run.method.load_state_dict(state.model)
    val_scores, val_targets = run.score(run.val_data, meanwhile=meanwhile)
    split, data, scores, targets = "val", run.val_data, val_scores, val_targets
    if run.config.run.test:
        split, data = "test", open_split(run.config.data.url, run.config.data.test_split)
        scores, targets = run.score(data, meanwhile=meanwhile)
    seconds = mean_seconds(run.clock)
    result: dict[str, Any] = {}
    if comm.rank() == 0:
        threshold = run.config.run.threshold
        fitted = fit_thresholds(val_scores, val_targets, otherwise=threshold)
        result = {
            "run": run.store.url.rstrip("/").rpartition("/")[2],
            "method": run.config.method,
            "reading": run.method.reading,
            "seed": run.config.seed,
            "world_size": comm.world_size(),
            "config": run.config.model_dump(mode="json"),
            "metrics": {
                split: evaluate(scores, targets, threshold=threshold, fitted=fitted),
            },
            "thresholds": dict(zip(data.label_space.names, fitted.tolist(), strict=True)),
            "baseline": {"label_frequency_mAP": label_frequency_map(targets)},
            "bad_samples": run.bad.to_tables(),
            "skipped_steps": run.skipped.to_tables(),
            "time": time_spent(seconds, run.history),
            "checkpoint": name,
            "history": run.history,
            "data": data.manifest.name,
            "data_digest": data.digest,
            "labels": list(data.label_space.names),
            "versions": versions(),
        }
        run.store.write(RESULT, strict_json(result))
    broadcast: dict[str, Any] = comm.broadcast_object(result)
    return broadcast


_PACKAGES = (
    *("torch", "torchvision", "timm"),  # networks
    *("numpy", "pillow", "simplejpeg"),  # what they see
    *("ray", "webdataset"),
)


def versions() -> dict[str, str]:
    """Versions of what decides the numbers; a package that is not installed is left out."""
    found = {"python": platform.python_version(), "retdm": __version__, "code": code_digest()}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@cache
def code_digest() -> str:
    """Tells whether two results are of the same code: of all of this package's Python files."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:12]
