"""A distribution is exact: each of its figures is one of the samples."""

from __future__ import annotations

import numpy as np
import pytest

from bench.results import CURVE, LatencyDistribution


def test_quantiles_are_the_nearest_ranks_of_all_samples() -> None:
    samples = np.random.default_rng(1).permutation(np.arange(1, 1001))
    found = LatencyDistribution.of(samples)
    assert found.count == 1000
    assert (found.p50_ns, found.p90_ns, found.p99_ns) == (500, 900, 990)
    assert (found.p999_ns, found.max_ns) == (999, 1000)
    assert len(found.curve_ns) == len(CURVE)
    assert (found.curve_ns[0], found.curve_ns[-1]) == (1, 1000)


def test_no_samples_are_no_distribution() -> None:
    with pytest.raises(ValueError, match="no samples"):
        LatencyDistribution.of(np.empty(0, np.int64))
