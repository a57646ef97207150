"""A run does all that is planned, and what fails leaves a gap and nothing else."""

from __future__ import annotations

import io

import pytest

from bench import run as bench_run
from bench.errors import BenchError
from bench.plan import FULL, QUICK, Plan
from bench.results import Recording, SegmentSize
from bench.rivals.rival import RivalUnavailable
from bench.run import Step, perform, steps
from tests.recordings import recording

MINUTES_15_S = 900


def do(*todo: Step, progress_to: io.StringIO | None = None) -> Recording:
    found = recording(segments=[], gaps=[])
    perform(todo, found, progress_to or io.StringIO())
    return found


def failing(error: BaseException):
    def run(_found: Recording) -> None:
        raise error

    return run


def finding(found: Recording) -> None:
    found.segments.append(SegmentSize(1, 1, 1, 1))


def test_a_step_that_fails_leaves_a_gap_and_the_others_go_on() -> None:
    words = "Traceback:\n  line\nOSError: full\n"  # of a traceback, the gap has the last line
    missing = failing(RivalUnavailable("pyzmq is not installed"))
    found = do(
        Step("this", 1.0, failing(BenchError(words))),
        *(Step(f"round {n}: ZeroMQ", 1.0, missing, "ZeroMQ") for n in range(5)),
        Step("shared memory", 1.0, failing(OSError(28, "No space left on device"))),
        Step("that", 1.0, finding),
    )
    assert found.gaps == [
        "this: OSError: full",
        "ZeroMQ: pyzmq is not installed",
        "shared memory: [Errno 28] No space left on device",
    ]
    assert len(found.segments) == 1
    with pytest.raises(ZeroDivisionError):  # a mistake of the bench itself
        do(Step("this", 1.0, failing(ZeroDivisionError())))


def test_the_time_left_follows_from_how_long_the_rest_took(monkeypatch) -> None:
    now_s = iter([0.0, 200.0])
    monkeypatch.setattr(bench_run.time, "monotonic", lambda: next(now_s))
    shown = io.StringIO()
    do(Step("this", 100.0, finding), Step("that", 300.0, finding), progress_to=shown)
    assert shown.getvalue() == "[  0%] about 7 min left: this\n[ 25%] about 10 min left: that\n"


def test_every_round_begins_with_another_program() -> None:
    rounds = [step.subject for step in steps(FULL) if step.what.startswith("side by side")]
    programs = len(set(rounds))
    assert len(set(rounds[::programs])) == min(programs, FULL.side_by_side.rounds)


@pytest.mark.parametrize(("plan", "limit_s"), [(FULL, MINUTES_15_S), (QUICK, 60)])
def test_a_run_is_expected_to_end_in_time_and_knows_the_rate_of_the_stack_beside_the_others(
    plan: Plan, limit_s: float
) -> None:
    assert sum(step.expected_s for step in steps(plan)) < limit_s
    assert (plan.side_by_side.symbols, 1) in {(t.symbols, t.strategies) for t in plan.throughput}
