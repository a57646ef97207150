"""How what was done is compared with what was counted."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from chaos.corrupt_feed import (
    MOST_NUMBERS,
    CorruptFeed,
    CorruptFeedOutcome,
    recovery_ns,
    taken,
    unfulfilled,
)
from chaos.faults.hostile_gateway import DEFECTS, EventCounts, Known, Noise, Stranger, Withheld
from chaos.judge.records import BookedTick
from chaos.lab.recorder import Event, StackRecording

MALFORMED = EventCounts(Counter(malformed_frames=2), {"malformed_frames": {5, 9}})


def logged(name: str, source: str = "orderbook", **details: Any) -> Event:
    return Event(1, source, name, details)


def outcome(
    sent: EventCounts, counted: EventCounts, *, left: int = 0, took: int | None = 7
) -> CorruptFeedOutcome:
    return CorruptFeedOutcome(Noise, left, "tape", sent, counted, took)


def test_what_the_orderbook_counted_is_taken_from_its_log_alone() -> None:
    account = taken(
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
    assert account == EventCounts(
        Counter(
            malformed_frames=4, unknown_symbols=1, ticks_missed=3, protocol_error=1, disconnected=1
        ),
        {"malformed_frames": {5, 9, 11}, "unknown_symbols": {6}, "ticks_missed": {20, 21, 22}},
    )


def test_a_gap_that_a_gateway_made_up_costs_no_memory() -> None:
    account = taken([logged("ticks_missed", first=1, last=2**62)])
    assert account.counts["ticks_missed"] == 2**62
    assert len(account.numbers["ticks_missed"]) == 1000


def test_an_account_that_agrees_gives_no_reason() -> None:
    assert unfulfilled(outcome(MALFORMED, MALFORMED)) == []


def test_one_less_or_one_more_is_a_reason() -> None:
    one = EventCounts(Counter(malformed_frames=1), {"malformed_frames": {5}})
    assert unfulfilled(outcome(MALFORMED, one)) == [
        "noise instead of a tick: 2 malformed_frames were due, the orderbook counted 1",
        "noise instead of a tick: malformed_frames not told of by number: 9",
    ]
    assert unfulfilled(outcome(one, MALFORMED)) == [
        "noise instead of a tick: 1 malformed_frames were due, the orderbook counted 2",
        "noise instead of a tick: malformed_frames told of without cause by number: 9",
    ]


def test_counted_as_something_else_is_a_reason() -> None:
    counted = EventCounts(Counter(malformed_frames=2, disconnected=1), MALFORMED.numbers)
    assert unfulfilled(outcome(MALFORMED, counted)) == [
        "noise instead of a tick: 0 disconnected were due, the orderbook counted 1"
    ]


def test_the_right_count_of_the_wrong_ticks_is_a_reason() -> None:
    counted = EventCounts(Counter(malformed_frames=2), {"malformed_frames": {5, 10}})
    assert unfulfilled(outcome(MALFORMED, counted)) == [
        "noise instead of a tick: malformed_frames not told of by number: 9",
        "noise instead of a tick: malformed_frames told of without cause by number: 10",
    ]


def test_only_the_first_of_many_numbers_are_told() -> None:
    many = EventCounts(Counter(ticks_missed=99), {"ticks_missed": set(range(1, 100))})
    [_, numbers] = unfulfilled(outcome(many, EventCounts()))
    assert numbers.endswith(f", {MOST_NUMBERS}, …")


def test_what_could_not_be_done_or_did_not_end_is_a_reason() -> None:
    assert unfulfilled(outcome(MALFORMED, MALFORMED, left=3, took=None)) == [
        "noise instead of a tick: could be done only 17 times",
        "noise instead of a tick: no tick from behind it in the book within 15 s",
    ]


def test_a_harm_is_over_with_the_first_tick_from_behind_it_that_is_booked_after_it() -> None:
    harm = Noise(Random(1))
    harm.last, harm.done_ns = 11, 100
    recording = StackRecording()
    for sequence, at_ns in ((9, 80), (12, 90), (11, 110), (12, 130), (13, 140)):
        recording.booked.append(BookedTick("tape", sequence, "AAPL", 1))
        recording.booked_ns.append(at_ns)
    assert recovery_ns(harm, recording, 0) == 30
    assert recovery_ns(harm, recording, 4) == 40
    assert recovery_ns(harm, recording, 5) is None


def test_the_ticks_withheld_are_those_of_all_accounts() -> None:
    experiment = CorruptFeed(1)
    missed = EventCounts(Counter(ticks_missed=2), {"ticks_missed": {11, 12}})
    experiment.outcomes += [outcome(MALFORMED, EventCounts()), outcome(missed, EventCounts())]
    assert experiment.withheld() == {"tape": {5, 9, 11, 12}}


def test_the_table_adds_up_all_passes_and_shows_what_is_told_of_nowhere() -> None:
    experiment = CorruptFeed(2)
    experiment.outcomes += [
        outcome(MALFORMED, MALFORMED),
        outcome(MALFORMED, EventCounts(), left=5),
    ]
    lines = experiment.table()
    assert len(lines) == 1 + len(DEFECTS)
    assert lines[1].split() == [*Noise.title.split(), "35", "malformed_frames", "4", "2", "0.0"]
    assert lines[1 + DEFECTS.index(Stranger)].split()[-1] == "-"
    assert lines[1 + DEFECTS.index(Known)].split()[-5:] == ["0", "nothing", "0", "0", "-"]
    assert lines[1 + DEFECTS.index(Withheld)].split()[-4:] == ["ticks_missed", "0", "0", "-"]


def test_the_figures_have_every_number() -> None:
    experiment = CorruptFeed(1)
    experiment.outcomes.append(outcome(MALFORMED, EventCounts()))
    [harm] = experiment.figures()["harms"]
    assert harm["sent"] == {
        "counts": {"malformed_frames": 2},
        "numbers": {"malformed_frames": [5, 9]},
    }
    assert harm["counted"] == {"counts": {}, "numbers": {}}
