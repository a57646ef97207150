"""The real processes of every alternative and of the floors, for a moment."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

import pytest

from bench.rivals.alternatives import multiprocessing_queue, textbook, zeromq
from bench.rivals.floor import hops, three_processes
from bench.rivals.load import Load, RivalTape
from bench.rivals.rival import RivalUnavailable
from bench.rivals.work import Averages
from tests.rivals import nothing_left

SECONDS = 0.3
MOST_LINES = 45


@pytest.mark.parametrize(
    ("rival", "loads"),
    [
        *((floor, [Load(2000, SECONDS)]) for floor in (three_processes, hops)),
        *(
            (
                alternative,
                [
                    *(Load(2000, SECONDS, ticks, symbols=3) for ticks in (1, 20)),
                    *(Load(0, SECONDS, ticks, symbols=3) for ticks in (1, alternative.BEST_BATCH)),
                ],
            )
            for alternative in (zeromq, multiprocessing_queue, textbook)
        ),
    ],
)
def test_every_tick_arrives_in_order_and_is_decided(rival, loads) -> None:
    for load in loads:
        with nothing_left():
            try:
                outcome = rival.measure(load)
            except RivalUnavailable as reason:
                pytest.skip(str(reason))
        assert (outcome.ticks > 0, outcome.missing) == (True, 0)
        assert outcome.seconds >= SECONDS
        assert len(outcome.latencies_ns) * load.ticks_a_message == outcome.ticks
        assert outcome.latencies_ns.min() > 0
        if load.rate:
            assert len(outcome.latencies_ns) == load.messages
        if rival not in (three_processes, hops):
            assert outcome.above == decisions(load, outcome.ticks)


def decisions(load: Load, ticks: int) -> int:
    """After how many of so many ticks the short average is above the long one."""
    tape = RivalTape(load)
    symbols, prices = (islice(cycle(part), ticks) for part in (tape.symbols, tape.prices))
    return Averages(load.symbols).decide(symbols, prices)


def test_the_bare_hops_are_short_enough_to_see_that_nothing_is_in_them() -> None:
    text = Path(three_processes.__file__).read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= MOST_LINES


def test_without_a_compiler_the_floor_in_c_is_a_gap_that_says_so(monkeypatch) -> None:
    monkeypatch.setattr(hops.shutil, "which", lambda _: None)
    with pytest.raises(RivalUnavailable, match="no C compiler"):
        hops.measure(Load(2000, SECONDS))
