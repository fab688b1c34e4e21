"""Which labels come together."""

import numpy as np
import pytest
from hypothesis import given

from retdm.evaluation.together import together
from tests.evaluation.conftest import cases


@given(cases(rows=12, labels=(1, 5)))
def test_equal_to_counting_in_loops(case):
    _, targets = case
    found = together(targets)
    images = [{at for at, there in enumerate(row) if there} for row in targets.tolist()]
    for row in range(targets.shape[1]):
        having = [image for image in images if row in image]
        for column in range(targets.shape[1]):
            if not having:
                assert np.isnan(found[row, column])
                continue
            both = sum(column in image for image in having)
            assert found[row, column] == pytest.approx(both / len(having))
