"""How the injected defects are compared with the orderbook's counts."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from chaos.corrupt_feed import (
    CorruptFeed,
    CorruptFeedOutcome,
    counted_by_orderbook,
    recovery_ns,
    unmet_expectations,
)
from chaos.faults.hostile_gateway import EventCounts, Noise
from chaos.judge.records import BookedTick
from chaos.lab.recorder import Event, StackRecording
from tests.log_lines import recorded


def malformed(count: int, *numbers: int) -> EventCounts:
    return EventCounts(Counter(malformed_frames=count), {"malformed_frames": set(numbers)})


EXPECTED = malformed(2, 5, 9)


def logged(name: str, source: str = "orderbook", **details: Any) -> Event:
    return recorded(1, source, name, details)


def outcome(
    counted: EventCounts, *, expected: EventCounts = EXPECTED, left: int = 0, took: int | None = 7
) -> CorruptFeedOutcome:
    return CorruptFeedOutcome(Noise, left, "tape", expected, counted, took)


def test_the_counts_come_from_the_log_of_the_orderbook_alone() -> None:
    event_counts = counted_by_orderbook(
        [
            logged("malformed_frames", count=1, examples=[{"sequence": 5}]),
            logged("malformed_frames", count=3, examples=[{"sequence": 9}, {"sequence": 11}]),
            logged("unknown_symbols", count=1, examples=[{"sequence": 6}]),
            logged("ticks_missed", first=20, last=22, where="gateway"),
            logged("protocol_error"),
            logged("disconnected"),
            logged("connected"),
            logged("disconnected", source="strategy"),
            logged("ticks_missed", source="strategy", first=1, last=9),
        ]
    )
    assert event_counts == EventCounts(
        Counter(
            malformed_frames=4, unknown_symbols=1, ticks_missed=3, protocol_error=1, disconnected=1
        ),
        {"malformed_frames": {5, 9, 11}, "unknown_symbols": {6}, "ticks_missed": {20, 21, 22}},
    )


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (outcome(EXPECTED), []),
        (
            outcome(malformed(1, 5)),
            [
                "2 malformed_frames expected, the orderbook counted 1",
                "malformed_frames not logged by number: 9",
            ],
        ),
        (
            outcome(malformed(2, 5, 10)),
            [
                "malformed_frames not logged by number: 9",
                "malformed_frames logged without cause by number: 10",
            ],
        ),
        (
            outcome(EXPECTED, left=3, took=None),
            ["could be injected only 17 times", "no later tick in the book within 15 s"],
        ),
    ],
    ids=["equal", "one less", "the wrong ticks", "not injected"],
)
def test_what_is_not_as_expected_is_a_reason(found: CorruptFeedOutcome, reasons: list[str]) -> None:
    assert unmet_expectations(found) == [f"{Noise.title}: {reason}" for reason in reasons]


def test_a_defect_is_over_with_the_first_later_tick_that_is_booked_after_it() -> None:
    defect = Noise(Random(1))
    defect.last, defect.done_ns = 11, 100
    recording = StackRecording()
    for sequence, at_ns in ((9, 80), (12, 90), (11, 110), (12, 130), (13, 140)):
        recording.booked.append(BookedTick("tape", sequence, "AAPL", 1))
        recording.booked_ns.append(at_ns)
    assert recovery_ns(defect, recording, 0) == 30
    assert recovery_ns(defect, recording, 4) == 40
    assert recovery_ns(defect, recording, 5) is None


def test_the_withheld_ticks_are_those_of_all_rounds() -> None:
    experiment = CorruptFeed(1)
    missed = EventCounts(Counter(ticks_missed=2), {"ticks_missed": {11, 12}})
    nothing = EventCounts()
    experiment.outcomes += [outcome(nothing), outcome(nothing, expected=missed)]
    assert experiment.withheld() == {"tape": {5, 9, 11, 12}}
