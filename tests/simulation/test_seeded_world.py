"""A seed is a history: nothing but the seed decides what happens."""

from __future__ import annotations

import os

import pytest

from tests.processes import run_python
from tests.simulation.files import prefix_of


@pytest.mark.parametrize(
    ("module", "run"), [("world", "run_seed"), ("cluster_world", "run_cluster")]
)
def test_a_seed_is_the_same_history_in_every_process(module, run):
    code = f"from tests.simulation.{module} import {run}; print({run}(1).trace)"
    traces = {
        run_python(code, env={**os.environ, "PYTHONHASHSEED": hash_seed}).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert len(traces) == 1
    assert all(traces)


def test_all_paths_are_of_one_length():
    assert len({len(prefix_of(pid)) for pid in (7, 32_768, 4_194_304)}) == 1
