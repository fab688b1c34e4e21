"""What models leave: bundles, embeddings, features, and score files of any model."""

import hashlib
import io
import random
from pathlib import Path

import numpy as np
import torch

from retdm.config import Config, parse
from retdm.data.bad import BadSample
from retdm.evaluation import evaluate
from retdm.evaluation.score_file import parse_scores
from retdm.predictor.bundle import (
    DESCRIPTION,
    WEIGHTS,
    Description,
    Preprocessing,
    read_description,
    read_weights,
)
from retdm.report.run_scores import parse_rows
from retdm.retrieval.embedded import Embedded, from_npz, to_npz
from retdm.storage import open_store
from retdm.train import feature_file
from tests.fuzz.containers import edited_npy, edited_zip
from tests.fuzz.mutation import damaged, edited_json, one_of, other_encoding
from tests.fuzz.target import Reader, Target

_JSON = one_of(edited_json, edited_json, edited_json, damaged, other_encoding)


def _bundle(folder: Path) -> tuple[list[bytes], Reader]:
    store = open_store(str(folder))
    about = Description(
        run="r",
        checkpoint="a",
        data="scenes",
        data_digest="d" * 64,
        labels=("a", "b"),
        threshold=0.5,
        thresholds={"a": 0.25, "b": 1.0},
        preprocessing=Preprocessing(size=32, resize=37),
        metrics={"test": {"mAP": 0.5, "toolbox.one_error": None}},
        versions={"torch": "2"},
        config=Config().model_dump(mode="json"),
        weights_sha256="0" * 64,
    )

    def read(given: bytes) -> None:
        store.write(DESCRIPTION, given)
        found = read_description(store)
        parse(Config, found.config, source="bundle")

    return [about.model_dump_json(indent=1).encode()], read


def _scores(folder: Path) -> tuple[list[bytes], Reader]:
    scores = np.linspace(0, 1, 12).reshape(4, 3)
    seeds = []
    for write in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        write(out, scores=scores, targets=scores > 0.4, rows=np.arange(4))
        seeds.append(out.getvalue())

    def read(given: bytes) -> None:
        evaluate(*parse_scores(given, name="s.npz"), threshold=0.5)
        parse_rows(given, name="s.npz", images=4)

    return seeds, read


def _embeddings(folder: Path) -> tuple[list[bytes], Reader]:
    points = np.arange(12, dtype=np.float32).reshape(3, 4)
    keys, labels = ("a", "b", "c"), ("sea", "sky")
    made = Embedded(points, keys, np.eye(3, 2, dtype=np.bool_), labels, "x a", "d" * 64)

    def read(given: bytes) -> None:
        found = from_npz(given, name="e.npz")
        _ = (
            found.embeddings.sum(),
            found.targets.sum(),
            [*found.keys, *found.labels, found.model, found.digest],
        )

    return [to_npz(made)], read


def _features(folder: Path) -> tuple[list[bytes], Reader]:
    store = open_store(str(folder))
    about: dict[str, str | int] = {"backbone": "vgg16", "size": 32}
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    bad = (BadSample("train", "a.tar", "k", "r"),)
    features = feature_file.Features(values, np.array([0, 1, 3]), bad)
    feature_file.write(store, about, features)
    name = feature_file.file_name(about)

    def read(given: bytes) -> None:
        (folder / name).write_bytes(given)
        found = feature_file.read(store, about, images=4)
        if found is not None:
            _ = found.values.mean(), found.rows.max(), sorted(found.bad)

    return [(folder / name).read_bytes()], read


def _sealed_features(members: dict[str, bytes]) -> None:
    """Give a features file the checksum of what it holds, if that can be read."""
    try:
        arrays = {
            name.removesuffix(".npy"): np.load(io.BytesIO(content))
            for name, content in members.items()
            if name != "checksum.npy" and len(content) < 1 << 20
        }
        checksum = feature_file._checksum(arrays)
    except (Exception, MemoryError):
        return
    out = io.BytesIO()
    np.save(out, checksum)
    members["checksum.npy"] = out.getvalue()


def _edited_array(rng: random.Random, content: bytes) -> bytes:
    start = 10 + int.from_bytes(content[8:10], "little")
    if content[start : start + 1] in (b"{", b"[") and rng.random() < 0.7:
        text = np.frombuffer(edited_json(rng, content[start:]), dtype=np.uint8)
        out = io.BytesIO()
        np.save(out, text)
        return out.getvalue()
    return rng.choice((edited_npy, edited_npy, damaged))(rng, content)


def _weights(folder: Path) -> tuple[list[bytes], Reader]:
    from safetensors.torch import save

    seed = save({"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)})

    def read(given: bytes) -> None:
        (folder / WEIGHTS).write_bytes(given)
        found = read_weights(open_store(str(folder)), hashlib.sha256(given).hexdigest())
        _ = [tensor.double().sum() for tensor in found.values()]

    return [seed], read


def _edited_header(rng: random.Random, content: bytes) -> bytes:
    """Edit the JSON with which the file begins, or any of its bytes."""
    size = int.from_bytes(content[:8], "little")
    if rng.random() < 0.3 or size > len(content):
        return damaged(rng, content)
    header = edited_json(rng, content[8 : 8 + size])
    if rng.random() < 0.3:
        header = header.replace(b"F32", rng.choice((b"F4", b"F8_E8M0", b"C64", b"U16", b"x")))
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


TARGETS = {
    "bundle": Target(_bundle, _JSON),
    "weights": Target(_weights, _edited_header),
    "scores": Target(
        _scores, one_of(edited_zip(_edited_array), edited_zip(_edited_array), damaged)
    ),
    "embeddings": Target(
        _embeddings, one_of(edited_zip(_edited_array), edited_zip(_edited_array), damaged)
    ),
    "features": Target(
        _features, one_of(edited_zip(_edited_array, sealed=_sealed_features), damaged)
    ),
}
