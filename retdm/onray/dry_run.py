"""What a run would do and whether it could, without doing it: `jobs/train.py --dry-run`."""

import json

from retdm.config import Config
from retdm.data.manifest import Manifest, load_manifest
from retdm.methods import Method, build_method
from retdm.onray.asked import describe_asked
from retdm.onray.run_record import RUN, Resume, is_finished, run_record, with_micro_batches
from retdm.onray.workers import Workers
from retdm.storage import Store, open_store
from retdm.train.checkpoint import flatten
from retdm.train.dry_run import describe, describe_data
from retdm.train.history import reached

_ASSUMED_LABELS = 80


def describe_run(config: Config, *, url: str, workers: Workers, resume: Resume) -> list[str]:
    """Lines that tell the settings, the data, the plan, what Ray is asked for, and the run so far.

    Reads from the shard set and from storage; writes nothing and starts no Ray.

    Args:
        config: The resolved settings; without `data.url` the rest is checked all the same.
        url: Of the run's folder.
        workers: How many.
        resume: What to do about an earlier run.

    Raises:
        RetdmError: For whatever would end the run before it begins: wrong settings, data or
            storage that cannot be reached, another run of this name.
    """
    store = open_store(url)
    store.size(RUN)  # before all that is slow: can storage be reached?
    config = with_micro_batches(config, store, workers)
    data, manifest, labels, samples = [], None, _ASSUMED_LABELS, None
    if config.data.url:
        shards = open_store(config.data.url)
        manifest = load_manifest(shards)
        data = describe_data(config, manifest, shards)
        labels, samples = len(manifest.labels), manifest.splits_of(config.data)[0].samples
    else:
        data = [f"data: NOT CHECKED, data.url is empty; assuming {labels} labels"]
    method = build_method(config, labels, load_weights=False)
    standing = _standing(config, manifest, method, store, resume)
    return [
        "settings:",
        *_settings(config),
        *data,
        *describe(config, method, samples=samples, workers=workers.high),
        *describe_asked(config, workers),
        f"run: {url} can be read, {standing}; whether it can be written is NOT CHECKED",
    ]


def _settings(config: Config) -> list[str]:
    flat = flatten(config.model_dump(mode="json"))
    return [f"  {name} = {json.dumps(value)}" for name, value in flat.items()]


def _standing(
    config: Config, manifest: Manifest | None, method: Method, store: Store, resume: Resume
) -> str:
    """What there is of the run, and so what the command would do."""
    if manifest is None:
        return "but not compared with an earlier one without data.url"
    if is_finished(store, run_record(config, manifest, method), resume):
        return "and is finished: nothing would be trained"
    stage, epoch = reached(store)
    return f"and goes on from stage {stage} epoch {epoch}" if stage else "and begins"
