"""What a recipe would do, without doing it: `jobs/train.py --dry-run`."""

import torch

from retdm.config import Config
from retdm.console import counted
from retdm.data.manifest import Manifest
from retdm.errors import ShardError
from retdm.methods import Method
from retdm.methods.fitted import FittedMethod
from retdm.storage import Store
from retdm.train.risk import divergence_risk
from retdm.train.stages import plan_stages

_FLOAT_BYTES = 4


def describe_data(config: Config, manifest: Manifest, store: Store) -> list[str]:
    """Lines that tell of the shard set, whose files are looked for and not read.

    Raises:
        ShardError: If it lacks a split of the run, or files.
    """
    splits = manifest.splits_of(config.data)
    wanted = {split.table for split in splits}
    wanted |= {name for split in splits for s in split.shards for name in (s.name, s.index)}
    if missing := sorted(wanted - set(store.names())):
        raise ShardError(
            f"{store.url}: {counted(len(missing), 'file')} of {len(wanted)} in the manifest "
            f"missing, first {missing[0]}; upload what is missing, or build the shard set anew"
        )
    return [
        f"data: {manifest.name}, {len(manifest.labels)} labels, {splits[0].samples} training "
        f"images; all {len(wanted)} files are there"
    ]


def describe(config: Config, method: Method, *, samples: int | None, workers: int) -> list[str]:
    """Lines that tell model size, stages and steps; runs one image through the network.

    Pretrained weights are not loaded, so that a recipe for eight GPUs can be checked on a
    laptop. What could not be checked is said.

    Args:
        config: The resolved settings.
        method: Built by them, without pretrained weights.
        samples: Training images; None if nothing is known of the data.
        workers: As many as there may be.

    Raises:
        RetdmError: If the model or the stages are wrong.
    """
    lines = []
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
