"""What runs leave on storage."""

import hashlib
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import torch

from retdm.bank import Bank
from retdm.config import Config, OptimizerSettings
from retdm.data.bad import BadSample
from retdm.evaluation import strict_json
from retdm.methods import MicroBatches
from retdm.onray.run_record import RUN, is_finished
from retdm.storage import open_store
from retdm.train.archive import load_archive
from retdm.train.checkpoint import TrainingState, file_of, flatten, load, save
from retdm.train.history import (
    INDEX,
    checkpoint_name,
    kept_checkpoints,
    publish,
    reached,
    retain,
)
from retdm.train.restore import load_checkpoint
from retdm.train.result import RESULT
from retdm.train.schedule import StageOptimizer
from retdm.train.skipped import SkippedSteps
from retdm.train.tally import EpochTally
from tests.checkpoints import entry, kept, whole_state
from tests.fuzz.containers import edited_zip
from tests.fuzz.mutation import damaged, edited_json, edited_table, one_of, other_encoding, spliced
from tests.fuzz.target import Reader, Target

_JSON = one_of(edited_json, edited_json, edited_json, damaged, other_encoding)


def _checkpoint(folder: Path) -> tuple[list[bytes], Reader]:
    path = folder / "x.pt"
    save(whole_state(), path)
    seeds = [path.read_bytes()] * 4  # whose tables can be edited
    for options in ({"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}):
        torch.save({"model": {}, "progress": {}}, path, **options)
        seeds.append(path.read_bytes())

    def read(given: bytes) -> None:
        path.write_bytes(given)
        _take_over(load(path))

    return seeds, read


def _take_over(state: TrainingState) -> None:
    """Give each table to what goes on with it, as a run does."""
    layer = torch.nn.Linear(4, 2)
    _ = state.label_space, state.progress.data.epoch, list(state.model)
    _ = [BadSample(**table) for table in state.bad_samples]
    SkippedSteps(limit=9).resume(state.skipped_steps)
    strict_json(state.history)
    retain([kept("e"), kept("f")], state.history, keep_best=1)
    flatten(state.config)
    if state.tally:
        tally = EpochTally()
        tally.load_state_dict(state.tally)
        if tally.open_steps:
            tally.close_line()
        tally.summary()
    if state.bank:
        Bank(4, 2).load_state_dict(state.bank)
    if state.optimizer:
        optimizer = StageOptimizer(layer.parameters(), OptimizerSettings(), 0.1)
        optimizer.load_state_dict(state.optimizer)
        optimizer.backward(layer(torch.ones(3, 4)).sum())
        optimizer.step(torch.ones(()))
        optimizer.end_epoch(0.5)
    if state.statistics is not None:
        # Two running numbers each, as of a batch normalisation with one channel.
        MicroBatches(2).load_state(torch.nn.BatchNorm1d(1), state.statistics)


def _edited_tables(rng: random.Random, content: bytes) -> bytes:
    """A sound archive, in whose tables something else stands."""
    if not content.startswith(b"PK"):
        return damaged(rng, content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        path.write_bytes(content)
        try:
            table = load_archive(path, map_location="cpu")
        except ValueError:  # of another protocol
            return damaged(rng, content)
        torch.save(edited_table(rng, table), path)
        return path.read_bytes()


def _edited_pickle(rng: random.Random, content: bytes) -> bytes:
    """A program for the unpickler with other instructions."""
    if not content.startswith(b"\x80"):
        return damaged(rng, content)
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(2, len(out))
        word = rng.choice(
            (
                *(
                    b"cos\nsystem\n",
                    b"cbuiltins\neval\n",
                    b"ctorch\nTensor\n",
                    b"R",
                    b"b",
                    b"u",
                    b"s",
                ),
                *(
                    b"ccollections\nOrderedDict\n",
                    b"ctorch._utils\n_rebuild_tensor_v2\n",
                    b"(",
                    b"t",
                ),
                *(
                    b"ctorch\nfloat64\n",
                    b"ctorch\nSize\n",
                    b"Q",
                    b"h\x00",
                    b"q\xff",
                    b"N",
                    b"}",
                    b".",
                ),
                *(
                    b"J\xff\xff\xff\x7f",
                    b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
                    b"K\x00",
                    b"(" * 5000,
                ),
                *(b"X\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"j\xff\xff\xff\x7f", b"a", b"e"),
                *(b"ctorch.serialization\n_get_layout\n", b"ctorch._utils\n_rebuild_parameter\n"),
                *(
                    b"]" * 2000 + b"a" * 1999,
                    b"0",
                    b"2",
                    b"1",
                    b"\x81",
                    b"\x93",
                    b"i",
                    b"o",
                    b"P1\n",
                ),
            )
        )
        out[at : at + rng.choice((0, 1, len(word)))] = word
    return bytes(out)


def _edited_member(rng: random.Random, content: bytes) -> bytes:
    return rng.choice((_edited_pickle, _edited_pickle, damaged))(rng, content)


def _index(folder: Path) -> tuple[list[bytes], Reader]:
    store = open_store(str(folder))
    save(whole_state(), folder / "x.pt")
    for name in "ab":
        store.write(file_of(name), (folder / "x.pt").read_bytes())
    digest = hashlib.sha256((folder / "x.pt").read_bytes()).hexdigest()
    publish(store, [entry("a", 0.5), entry("b", 0.4)], [kept("a"), kept("b")])
    seed = (folder / INDEX).read_bytes().replace(b"0" * 64, digest.encode())

    def read(given: bytes) -> None:
        (folder / INDEX).write_bytes(given)
        kept_checkpoints(store)
        reached(store)
        for which in ("best", "latest"):
            load_checkpoint(store, checkpoint_name(store, which), torch.device("cpu"))

    return [seed], read


def _record(file: str) -> Any:
    def prepare(folder: Path) -> tuple[list[bytes], Reader]:
        store = open_store(str(folder))
        publish(store, [entry("a", 0.5)], [kept("a")])
        reading = {"score": "as the paper has it"}
        record: dict[str, Any] = {
            "config": Config().model_dump(mode="json"),
            "labels": ["a", "b"],
            "data_digest": "d" * 64,
            "reading": reading,
        }
        seed = json.dumps(record, indent=1).encode()
        (folder / RUN).write_bytes(seed)

        def read(given: bytes) -> None:
            (folder / file).write_bytes(given)
            is_finished(store, record, "auto")

        return [seed], read

    return prepare


def _damaged_or_spliced(rng: random.Random, content: bytes) -> bytes:
    return damaged(rng, content) if rng.random() < 0.7 else spliced(rng, [content])


_ZIPPED = edited_zip(_edited_member)


def _edited_archive(rng: random.Random, content: bytes) -> bytes:
    if content.startswith(b"PK") and rng.random() < 0.8:
        return _ZIPPED(rng, content)
    return one_of(_edited_pickle, _damaged_or_spliced)(rng, content)


TARGETS = {
    "checkpoint": Target(_checkpoint, one_of(_edited_tables, _edited_archive)),
    "checkpoint-index": Target(_index, _JSON),
    "run-json": Target(_record(RUN), _JSON),
    "result-json": Target(_record(RESULT), _JSON),
}
