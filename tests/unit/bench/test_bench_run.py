"""A run does all that is planned, and what fails leaves a gap and nothing else."""

from __future__ import annotations

import io

import pytest

from bench.errors import BenchError
from bench.plan import FULL, QUICK, RATES, Plan
from bench.results import SegmentSize
from bench.rivals.rival import RivalUnavailable
from bench.run import PartialRecording, Step, perform, steps

MINUTES_15_S = 900


def do(*todo: Step) -> PartialRecording:
    return perform(todo, io.StringIO())


def failing(error: BaseException):
    def run(_found: PartialRecording) -> None:
        raise error

    return run


def finding(found: PartialRecording) -> None:
    found.segments.append(SegmentSize(1, 1, 1, 1))


def test_a_step_that_fails_leaves_a_gap_and_the_others_go_on() -> None:
    words = "Traceback:\n  line\nOSError: full\n"  # of a traceback, the gap has the last line
    found = do(Step("this", 1.0, failing(BenchError(words))), Step("that", 1.0, finding))
    assert found.gaps == ["this: OSError: full"]
    assert len(found.segments) == 1


def test_what_is_missing_in_every_round_is_one_gap() -> None:
    missing = failing(RivalUnavailable("pyzmq is not installed"))
    found = do(*(Step(f"round {n}: ZeroMQ", 1.0, missing, "ZeroMQ") for n in range(5)))
    assert found.gaps == ["ZeroMQ: pyzmq is not installed"]


def test_a_mistake_of_ours_is_no_gap() -> None:
    with pytest.raises(ZeroDivisionError):
        do(Step("this", 1.0, failing(ZeroDivisionError())))


def test_every_round_begins_with_another_program() -> None:
    rounds = [step.subject for step in steps(FULL) if step.what.startswith("side by side")]
    programs = len(set(rounds))
    assert len(set(rounds[::programs])) == min(programs, FULL.side_by_side.rounds)


@pytest.mark.parametrize(("plan", "limit_s"), [(FULL, MINUTES_15_S), (QUICK, 60)])
def test_a_run_is_expected_to_end_in_time(plan: Plan, limit_s: float) -> None:
    assert sum(step.expected_s for step in steps(plan)) < limit_s


def test_a_full_run_covers_all_rates_symbols_strategies_and_clients() -> None:
    assert {one.rate for one in FULL.latency} >= set(RATES)
    assert {(one.symbols, one.strategies) for one in FULL.throughput} == {
        (symbols, strategies) for symbols in (4, 100, 5_000) for strategies in (1, 4)
    }
    assert all(one.seconds == 10.0 for one in FULL.throughput)
    assert {one.clients for one in FULL.orders} == {1, 4, 16}
    assert FULL.side_by_side.rounds >= 5


@pytest.mark.parametrize("plan", [FULL, QUICK])
def test_the_stack_beside_the_others_has_as_many_symbols_as_one_whose_rate_is_known(
    plan: Plan,
) -> None:
    assert (plan.side_by_side.symbols, 1) in {(t.symbols, t.strategies) for t in plan.throughput}
