"""The distinct label sets of a table."""

import pytest
import torch

from retdm.bank import LabelSets


@pytest.mark.parametrize("labels", [1, 5, 8, 9, 80])
def test_each_sample_finds_its_own_set(labels):
    targets = torch.rand(300, labels, generator=torch.Generator().manual_seed(0)) < 0.05
    known = LabelSets(targets)
    assert torch.equal(known.targets[known.set_id], targets)
    assert len(known) == len({tuple(row) for row in targets.tolist()})


def test_numbers_do_not_depend_on_the_order_of_samples():
    targets = torch.rand(100, 6, generator=torch.Generator().manual_seed(0)) < 0.4
    assert torch.equal(LabelSets(targets).targets, LabelSets(targets.flip(0)).targets)


def test_labels_are_counted_once_a_sample():
    targets = torch.rand(300, 4, generator=torch.Generator().manual_seed(1)) < 0.3
    known = LabelSets(targets)
    per_sample = known.targets[known.set_id].tolist()
    expected = [sum(row[label] for row in per_sample) for label in range(4)]
    assert known.label_counts.tolist() == expected
    assert known.label_counts.dtype == torch.int64


def test_moving_keeps_the_sets():
    known = LabelSets(torch.eye(3, dtype=torch.bool)).to("meta")
    tensors = (known.targets, known.set_id, known.label_counts)
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert len(known) == 3


def test_a_label_takes_one_byte_of_a_label_set():
    known = LabelSets(torch.eye(50, dtype=torch.bool).repeat(3, 1))
    tensors = [value for value in vars(known).values() if isinstance(value, torch.Tensor)]
    assert sum(t.nbytes for t in tensors) == 50 * 50 + 8 * 150 + 8 * 50


def test_an_empty_table_is_an_error():
    with pytest.raises(ValueError, match="at least one sample"):
        LabelSets(torch.zeros(0, 4, dtype=torch.bool))


def test_real_coco_labels(shared_data):
    import numpy as np

    files = sorted((shared_data / "labels").glob("*coco*.npz"))
    if not files:
        pytest.skip("no COCO label matrix here")
    with np.load(files[0]) as arrays:
        matrix = max((arrays[name] for name in arrays.files), key=lambda a: a.ndim * a.size)
    if matrix.dtype == np.uint8 and matrix.shape[1] == 10:
        matrix = np.unpackbits(matrix, axis=1)
    targets = torch.from_numpy(matrix == 1)
    known = LabelSets(targets)
    assert torch.equal(known.targets[known.set_id], targets)
