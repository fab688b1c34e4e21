"""Real COCO and MIRFLICKR photos: packed, verified, and trained on for some steps a stage."""

import contextlib
import itertools
from pathlib import Path

import pytest
import torch

from retdm.bank import Bank, LabelSets
from retdm.data.loader import TrainingLoader
from retdm.data.split import open_split
from retdm.methods import Clock, MicroBatches, build_method
from retdm.shard.build import build
from retdm.shard.spec import load_spec
from retdm.shard.verify import verify
from retdm.train.schedule import StageOptimizer
from retdm.train.session import LocalSession
from retdm.train.stages import enter, plan_stages
from retdm.train.step import Stepper
from tests.train.conftest import settings

SPECS = Path(__file__).parents[2] / "shards"
STEPS = 3
METRIC = {"metric", "way1", "way2", "violations", "neighbours"}
PARTS = {
    "1": {"bce", "total"},
    "2": {"bce", "reconstruction", "total", *METRIC},
    "3": {"bce", "reconstruction", "total", *METRIC},
}

pytestmark = pytest.mark.slow


def _packed(folder, name, source, *overrides):
    spec, options = load_spec(SPECS / f"{name}.toml", overrides)
    build(spec, options, source=source, out=str(folder))
    assert verify(str(folder)) == []
    return str(folder)


@pytest.fixture(scope="module")
def coco(shared_data, tmp_path_factory):
    """URL of the COCO photos, split by their two annotation files."""
    return _packed(
        *(tmp_path_factory.mktemp("coco"), "coco2014", shared_data / "coco3k"),
        *("options.images=images", "options.annotations.train=instances_train.json"),
        "options.annotations.test=instances_val.json",
    )


@pytest.fixture(scope="module")
def mirflickr(shared_data, tmp_path_factory):
    """URL of the MIRFLICKR photos."""
    return _packed(
        *(tmp_path_factory.mktemp("mirflickr"), "mirflickr25k", shared_data / "mirflickr2k"),
        *("options.images=images", "options.annotations=annotations"),
    )


@pytest.mark.parametrize(
    ("name", "labels", "overrides", "computed"),
    [
        ("coco", 80, (), torch.float32),
        ("mirflickr", 24, (), torch.float32),
        # Few images: a CPU without bf16 units takes 10 times as long as in fp32.
        ("mirflickr", 24, ("run.precision=bf16", "data.batch_size=4"), torch.bfloat16),
    ],
    ids=["coco", "mirflickr", "mirflickr-bf16"],
)
def test_the_first_steps_of_every_stage(request, tmp_path, name, labels, overrides, computed):
    config = settings(request.getfixturevalue(name), *overrides)
    data = open_split(config.data.url, config.data.train_split)
    assert len(data.label_space) == labels
    torch.manual_seed(config.seed)
    method = build_method(config, labels=labels)
    convolved = _dtypes_of_convolutions(method)
    label_sets = LabelSets(torch.from_numpy(data.table.targets))
    bank = Bank(config.bank.size, config.model.embedding)
    device = LocalSession().device
    stages, step = plan_stages(config, method), 0
    assert [stage.name for stage in stages] == list(PARTS)

    loader = TrainingLoader(data, config.data, seed=config.seed, rank=0, world_size=1)
    for epoch, stage in enumerate(stages):
        optimizer = StageOptimizer(enter(stage, method), config.optimizer, stage.lr)
        stepper = Stepper(
            *(config, stage, method, optimizer, bank, label_sets, MicroBatches(), device),
            step=step,
            stage_step=0,
            clock=Clock(),
        )
        with contextlib.closing(loader.epoch(epoch)) as batches:
            for batch in itertools.islice(batches, STEPS):
                output = stepper.train(batch)
                assert output.parts.keys() == PARTS[stage.name] | {"gradient_norm"}
                for part, value in output.parts.items():
                    assert value.isfinite(), (stage.name, part)
                assert output.rows is None or output.rows[0].dtype == torch.float32
        assert stepper.step == step + STEPS
        step = stepper.step
    loader.close()

    assert convolved == {computed}
    held = bank.view(step)
    assert len(bank) == config.bank.size
    assert held.embeddings.dtype == torch.float32
    assert held.embeddings.isfinite().all()
    assert (held.set_ids >= 0).all()


def _dtypes_of_convolutions(method):
    """A set that fills, while `method` runs, with the types its convolutions compute in."""
    seen = set()
    for module in method.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    return seen
