"""A distribution is exact: each of its figures is one of the samples."""

from __future__ import annotations

import numpy as np

from bench.results import CURVE, LatencyDistribution


def test_quantiles_are_the_nearest_ranks_of_all_samples() -> None:
    found = LatencyDistribution.of(np.random.default_rng(1).permutation(np.arange(1, 1001)))
    assert (found.count, found.p50_ns, found.p90_ns) == (1000, 500, 900)
    assert (found.p99_ns, found.p999_ns, found.max_ns) == (990, 999, 1000)
    assert (len(found.curve_ns), found.curve_ns[0], found.curve_ns[-1]) == (len(CURVE), 1, 1000)
