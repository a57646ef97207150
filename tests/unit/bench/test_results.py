"""A distribution is exact: each of its figures is one of the samples."""

from __future__ import annotations

import numpy as np
import pytest

from bench.results import CURVE, LatencyDistribution, ProgramRound


def test_quantiles_are_the_nearest_ranks_of_all_samples() -> None:
    samples = np.random.default_rng(1).permutation(np.arange(1, 1001))
    found = LatencyDistribution.of(samples)
    assert found.count == 1000
    assert (found.p50_ns, found.p90_ns, found.p99_ns) == (500, 900, 990)
    assert (found.p999_ns, found.max_ns) == (999, 1000)
    assert len(found.curve_ns) == len(CURVE)
    assert (found.curve_ns[0], found.curve_ns[-1]) == (1, 1000)


def test_a_single_sample_is_every_quantile() -> None:
    found = LatencyDistribution.of(np.array([7]))
    assert {found.p50_ns, found.p999_ns, found.max_ns, *found.curve_ns} == {7}


def test_no_samples_are_no_distribution() -> None:
    with pytest.raises(ValueError, match="no samples"):
        LatencyDistribution.of(np.empty(0, np.int64))


def test_what_arrived_is_counted_over_the_time_it_took() -> None:
    assert ProgramRound("stack", 0, 0.0, 0, 4, 3_000, 0, 1.5, None).ticks_per_s == 2_000
