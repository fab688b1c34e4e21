"""What a recipe would do, without doing it: `jobs/train.py --dry-run`."""

import torch

from retdm.config import Config
from retdm.data.manifest import load_manifest
from retdm.methods import Method, build_method
from retdm.methods.fitted import FittedMethod
from retdm.storage import open_store
from retdm.train.risk import divergence_risk
from retdm.train.stages import plan_stages

_FLOAT_BYTES = 4


def describe(config: Config, *, workers: int) -> list[str]:
    """Lines that tell model size, stages and steps; runs one image through the network.

    Pretrained weights are not loaded and the shards are only looked at, so that a recipe for
    eight GPUs can be checked on a laptop. What could not be checked is said.

    Raises:
        RetdmError: If the settings, the model or the stages are wrong.
    """
    lines, labels, samples = [], 80, None
    if config.data.url:
        manifest = load_manifest(open_store(config.data.url))
        labels = len(manifest.labels)
        train, *_ = manifest.splits_of(config.data)
        samples = train.samples
        lines.append(f"data: {manifest.name}, {labels} labels, {samples} training images")
    else:
        lines.append(f"data: NOT CHECKED, data.url is empty; assuming {labels} labels")
    method = build_method(config, labels=labels, load_weights=False)
    side = config.data.image_size
    scores = method.scores(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    lines.append(
        f"model: {config.model.backbone} at {side} px gives {tuple(scores.shape)} scores; "
        f"weights {config.model.weights!r} NOT CHECKED"
    )
    for name, part in method.parts.items():
        count = sum(parameter.numel() for parameter in part.parameters())
        lines.append(f"  {name}: {count / 1e6:.2f} M parameters")
    batch = config.data.batch_size
    lines.append(f"batch: {batch} images over {workers} workers, {-(-batch // workers)} each")
    if isinstance(method, FittedMethod):
        lines.append("stage fit: one pass over the training images, no steps")
        return lines + _readings(method)
    for stage in plan_stages(config, method):
        own = {"classification": method.classification}
        losses = sorted(own.get(loss, loss) for loss in stage.losses)
        steps = "?" if samples is None else str(-(-samples // batch) * stage.epochs)
        lines.append(
            f"stage {stage.name}: trains {', '.join(stage.train)} on "
            f"{', '.join(losses)}; {stage.epochs} epochs, {steps} steps, "
            f"lr {stage.lr:g}"
        )
    if method.uses_bank:
        bank = config.bank.size * config.model.embedding * _FLOAT_BYTES
        lines.append(f"bank: {config.bank.size} rows, {bank / 2**20:.0f} MiB on every worker")
    if risk := divergence_risk(config, method):
        lines.append(f"warning: {risk}")
    return lines + _readings(method)


def _readings(method: Method) -> list[str]:
    return [f"reading: {name} = {value}" for name, value in method.reading.items()]
