"""The search closes in on the highest rate that holds; a trial knows when it cannot hold."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from bench.errors import RoleEndedError
from bench.measure import throughput
from bench.measure.measured_stack import Published
from bench.measure.throughput import (
    RESOLUTION,
    STEP,
    Attempt,
    EvaluationCounter,
    StrategyProgress,
    attempt,
    confirm,
    reason_not_held,
    search,
)
from bench.results import Trial
from lib.settings import MAX_RATE, Settings
from lib.trading.decision_log import DecisionLog, DecisionReader

SECOND_NS = 10**9


def tried(rate: float, capacity: float) -> Attempt:
    """Try a rate on a stack that holds every rate up to its capacity."""
    return Attempt(Trial(rate, 1.0, 1, 1, rate <= capacity, ""), rate, ())


def searched(first: float, capacity: float, trials: int = 20) -> list[Attempt]:
    return list(search(first, trials, partial(tried, capacity=capacity)))


def held(attempts: list[Attempt]) -> list[float]:
    """The rates that held."""
    return [attempt.trial.rate for attempt in attempts if attempt.trial.held]


@pytest.mark.parametrize("first", [1e3, 1.01e6, 8e6])
def test_it_finds_the_capacity_and_tries_no_rate_above_a_failed_or_below_a_held_one(
    first: float,
) -> None:
    rates = searched(first, 1e6, trials=80)
    assert 1e6 / RESOLUTION <= max(held(rates)) <= 1e6
    for number, (trial, *_) in enumerate(rates):
        before = [attempt.trial for attempt in rates[:number]]
        assert all(trial.rate < other.rate for other in before if not other.held)
        assert all(trial.rate > other.rate for other in before if other.held)


def test_a_guess_that_is_far_too_high_is_left_behind_in_a_few_trials() -> None:
    assert held(searched(10e6, 1e6, trials=5))
    rates = [attempt.trial.rate for attempt in searched(0.9 * MAX_RATE, 2 * MAX_RATE)]
    assert rates == [0.9 * MAX_RATE, MAX_RATE]  # no gateway may be asked for more


def confirmed(attempts: list[Attempt], capacity: float) -> list[tuple[float, bool]]:
    """What is tried once more."""
    again = confirm(attempts, partial(tried, capacity=capacity))
    return [(attempt.trial.rate, attempt.trial.held) for attempt in again]


def test_only_what_holds_twice_counts() -> None:
    attempts = searched(1e6, 1.5e6, trials=4)
    first, second, *_ = sorted(held(attempts), reverse=True)
    assert confirmed(attempts, 1.5e6) == [(first, True)]
    assert confirmed(attempts, second) == [(first, False), (second, True)]


def test_on_a_machine_that_has_become_slower_a_lower_rate_counts() -> None:
    once = tried(1e6, 1e6)
    slower = [(1e6, False), (1e6 / STEP, False), (1e6 / STEP**2, True)]
    assert confirmed([once], 0.8e6) == slower
    assert confirmed([tried(1e6, 0.8e6)], 0.8e6) == []


class Strategy:
    """What is known of one strategy that evaluates the ticks behind 100."""

    def __init__(self, path: Path) -> None:
        self._log = DecisionLog(path)
        self._log.add("tape", 1, 1, 1)
        self.reader = DecisionReader.open(path)
        assert self.reader
        self.evaluated = EvaluationCounter(self.reader, Published("tape", 100), SECOND_NS)

    def decide(self, first: int, last: int, seconds: float) -> None:
        self._log.add("tape", first, last, int(seconds * SECOND_NS))


@pytest.fixture
def strategy(tmp_path: Path) -> Strategy:
    return Strategy(tmp_path / "decisions")


def test_only_the_ticks_behind_the_first_are_counted_from_one_look_to_the_next(
    strategy: Strategy,
) -> None:
    strategy.decide(81, 90, 1.0)
    assert strategy.evaluated.read().evaluated == 0
    strategy.decide(91, 110, 2.0)
    for _ in range(2):
        assert strategy.evaluated.read() == StrategyProgress(10, 110, 0, 1.0)
    strategy.decide(111, 150, 4.0)
    assert strategy.evaluated.read() == StrategyProgress(50, 150, 0, 3.0)


def test_ticks_that_were_left_out_are_counted_as_gaps(strategy: Strategy) -> None:
    strategy.decide(104, 120, 1.0)
    strategy.decide(131, 140, 2.0)
    found = strategy.evaluated.read()
    assert (found.evaluated, found.last, found.gaps) == (27, 140, 3 + 10)


def progress(last: int, gaps: int = 0) -> StrategyProgress:
    return StrategyProgress(0, last, gaps, 0.0)


@pytest.mark.parametrize(
    ("strategies", "why"),
    [
        ([progress(1000)], ""),
        ([progress(1000), progress(501)], ""),
        ([progress(1000), progress(399)], "601 ticks behind"),
        ([progress(1000), progress(1000, gaps=7)], "7 ticks were lost or lapped"),
    ],
)
def test_a_trial_cannot_hold_once_a_strategy_has_lost_ticks_or_is_a_second_behind(
    strategies: list[StrategyProgress], why: str
) -> None:
    assert reason_not_held(strategies, published=1000, rate=500.0) == why


def test_a_rate_at_which_a_daemon_ends_does_not_hold(strategy: Strategy, monkeypatch) -> None:
    class Stack:
        gateway_var_dir = Settings().var_dir
        set_rate = staticmethod(lambda _: None)
        decision_readers = staticmethod(lambda: [strategy.reader])
        published = staticmethod(lambda: Published("tape", 100))

    class Meter:
        def __init__(self, _: object) -> None:
            pass

        def read(self) -> None:
            raise RoleEndedError("dashboard has ended")

    monkeypatch.setattr(throughput, "WARM_UP_S", 0.0)
    monkeypatch.setattr(throughput, "UsageMeter", Meter)
    found = attempt(Stack(), 1.0, 0.01)  # type: ignore[arg-type]
    assert (found.trial.held, found.trial.why) == (False, "dashboard has ended")
    assert found.usage == ()
