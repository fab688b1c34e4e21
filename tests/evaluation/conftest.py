"""Cases of the property tests."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

# Few distinct values make many ties; arrays(bool) gives rows without and with all labels.
COARSE = st.integers(0, 4).map(lambda n: n / 4)
FINE = st.floats(0, 1, width=32)


def cases(*, rows, labels):
    """Pairs of scores and targets with up to `rows` rows; `labels`: the least and the most."""
    return st.tuples(st.integers(1, rows), st.integers(*labels)).flatmap(
        lambda shape: st.tuples(
            st.one_of(arrays(np.float32, shape, elements=e) for e in (COARSE, FINE)),
            arrays(bool, shape),
        )
    )
