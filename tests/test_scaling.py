"""The scaling page has what its program reckons."""

import dataclasses
from pathlib import Path

import pytest

from tests.bench.scaling import Assumed, Measured, reckon, table

ROOT = Path(__file__).resolve().parents[1]
MEASURED, ASSUMED = Measured(), Assumed()


def test_the_page_has_the_programs_table():
    assert table(MEASURED, ASSUMED) in (ROOT / "cluster/SCALING.md").read_text()


def test_one_node_has_no_network_between_nodes():
    slow = dataclasses.replace(ASSUMED, network_bytes_per_s=1.0)
    assert reckon(8, MEASURED, slow).reduce_s == pytest.approx(2 * 7 / 8 * 479.9e6 / 200e9)
    assert reckon(16, MEASURED, slow).reduce_s > 479.9e6


def test_nodes_share_what_s3_promises():
    one, many = reckon(8, MEASURED, ASSUMED), reckon(512, MEASURED, ASSUMED)
    assert one.first_epoch == 1
    assert one.requests_per_s == pytest.approx(8 * 800 * 163e3 / 2**23)
    assert many.requests_per_s == pytest.approx(5500)
    assert many.had_bytes_per_s * 64 == pytest.approx(5500 * 2**23)
