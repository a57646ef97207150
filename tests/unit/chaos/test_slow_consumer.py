"""What follows from a window of a recording, and what counts as an effect on others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.judge.records import PlayedTick
from chaos.lab.recorder import SUPERVISORD, Event, SeenEvaluation, StackRecording
from chaos.slow_consumer import (
    CLIENTS,
    GROWTH_BYTES,
    KINDS,
    LOOK_S,
    MUST_BE_GIVEN_UP,
    NEWS,
    NONSENSE,
    NOTICED_NS,
    NOTICED_RATIO,
    NUMBERED,
    ONE_NONSENSE,
    ORDERS,
    PLAIN,
    SERVERS,
    WINDOW_S,
    SlowConsumer,
    SlowConsumerOutcome,
    Waits,
    differences,
    disturbances,
    longer_waits,
    longest_answer_ns,
    longest_gap_ns,
    longest_waits,
    unmet_expectations,
)
from daemons.order_manager import MAX_QUEUED_BYTES
from lib.wire.framing import MESSAGE_DELIMITER
from lib.wire.order_messages import ErrorMessage, MessageError, decode_from_client, encode
from tests.log_lines import recorded

SHORT = Waits(1000, 1000, 1000)
GOOD = SlowConsumerOutcome(
    without=SHORT,
    beside=SHORT,
    waiting_bytes={PLAIN: [1, 2], NUMBERED: [1, 0], NEWS: [0, 0], ORDERS: [5, 0]},
    hung_up=dict.fromkeys(KINDS, 0) | MUST_BE_GIVEN_UP,
    grown_bytes=GROWTH_BYTES,
    ticks_read_on=100,
    troubles=(),
)


def order(at_ns: int, name: str, order_id: int) -> Event:
    return recorded(at_ns, "strategy", name, {"order_id": order_id})


def tape(*prices: int, first: int = 1) -> dict[int, PlayedTick]:
    return {number: PlayedTick("AAPL", price) for number, price in enumerate(prices, first)}


def playing(ticks: dict[int, PlayedTick], troubles: tuple[str, ...] = ()) -> StackRecording:
    return StackRecording(tapes={"T": ticks}, playing="T", troubles=list(troubles))


@pytest.mark.parametrize(
    ("times_ns", "longest_ns"), [([5, 12, 14, 19, 40], 5), ([17], 7), ([12], 8), ([], 10)]
)
def test_a_gap_counts_within_the_window_and_to_both_its_ends(
    times_ns: list[int], longest_ns: int
) -> None:
    assert longest_gap_ns(times_ns, 10, 20) == longest_ns


def test_an_order_waits_for_its_answer_or_until_the_window_ends() -> None:
    answered = [
        order(11, "order_sent", 1),
        order(12, "order_sent", 2),
        order(14, "order_filled", 1),
    ]
    assert longest_answer_ns([*answered, order(15, "order_rejected", 2)], 10, 20) == 3
    assert longest_answer_ns(answered, 10, 20) == 8
    assert longest_answer_ns([order(5, "order_sent", 1), order(12, "order_filled", 1)], 10, 20) == 0


def test_a_window_is_taken_from_strategy_client_and_orders() -> None:
    recording = playing({})
    recording.evaluated = [SeenEvaluation(at_ns, "T", at_ns) for at_ns in (11, 13, 15, 19)]
    recording.heard_ns = {"T": {1: 11, 2: 14, 3: 19}, "earlier": {1: 12}}
    recording.events = [order(11, "order_sent", 1), order(12, "order_filled", 1)]
    assert longest_waits(recording, 10, 20) == Waits(4, 5, 1)


@pytest.mark.parametrize(
    ("own", "complaints"),
    [
        (playing(tape(1, 2, 3, 4)), []),
        (playing(tape(2, 3, first=2)), []),  # the gateway no longer had the first one
        (playing(tape(1, 2)), ["1 ticks up to 3 were missing"]),
        (playing(tape(1, 2) | tape(4, first=4)), ["1 ticks up to 3 were missing"]),
        (playing({}), ["3 ticks up to 3 were missing"]),
        (playing(tape(1, 9, 3)), ["1 ticks were not those that were played"]),
        (playing(tape(1, 2, 3), ("out of turn",)), ["out of turn"]),
    ],
)
def test_a_client_that_missed_ticks_is_listed(own: StackRecording, complaints: list[str]) -> None:
    assert differences(own, playing(tape(1, 2, 3)), up_to=3) == [
        f"the client that resumed reading: {complaint}" for complaint in complaints
    ]


def test_a_role_that_lost_its_connection_or_its_process_was_disturbed() -> None:
    events = [
        recorded(1, "strategy", "disconnected", {"stream": "orders"}),
        recorded(2, "gateway", "client_disconnected", {"stream": "price", "peer": "127.0.0.1:9"}),
        recorded(3, SUPERVISORD, "ended", {"role": "gateway"}),
        recorded(4, SUPERVISORD, "spawned", {"role": "gateway"}),
        recorded(5, "strategy", "connected", {"stream": "orders"}),
    ]
    assert disturbances(events) == ["strategy lost its connection for orders", "gateway ended"]


def but(field: str, key: str, value: Any) -> SlowConsumerOutcome:
    """A good outcome with another value in one place."""
    return replace(GOOD, **{field: {**getattr(GOOD, field), key: value}})


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        *((but("waiting_bytes", kind, [0]), kind) for kind in (PLAIN, NUMBERED, ORDERS)),
        *((but("grown_bytes", server, GROWTH_BYTES[server] + 1), server) for server in SERVERS),
        *((but("hung_up", kind, n - 1), f"{n - 1} of {n}") for kind, n in MUST_BE_GIVEN_UP.items()),
        (replace(GOOD, ticks_read_on=0), "resumed reading got no tick"),
        (replace(GOOD, troubles=("gateway ended",)), "gateway ended"),
    ],
)
def test_every_unmet_expectation_is_listed(outcome: SlowConsumerOutcome, reason: str) -> None:
    [found] = unmet_expectations(outcome)
    assert reason in found
    experiment = SlowConsumer(2)
    experiment.found = [GOOD, outcome]
    assert experiment.reasons() == [f"round 2: {found}"]


def test_an_order_manager_that_kept_every_answer_would_grow_too_much() -> None:
    looks = WINDOW_S / LOOK_S / 1.5  # a slow machine has fewer of them
    with pytest.raises(MessageError) as refused:
        decode_from_client(ONE_NONSENSE.removesuffix(MESSAGE_DELIMITER))
    answer = encode(ErrorMessage(reason=str(refused.value)))
    owed = looks * NONSENSE.count(ONE_NONSENSE) * len(answer)
    assert owed > 1.2 * MAX_QUEUED_BYTES
    assert CLIENTS * owed > 1.3 * GROWTH_BYTES["order_manager"]
    assert GROWTH_BYTES["order_manager"] > CLIENTS * MAX_QUEUED_BYTES


def test_a_wait_in_most_rounds_was_caused_by_the_clients_unless_it_also_came_without() -> None:
    beside = replace(SHORT, client_ns=3 * NOTICED_NS)
    without = replace(SHORT, client_ns=beside.client_ns // NOTICED_RATIO)
    slow, noisy = replace(GOOD, beside=beside), replace(GOOD, beside=beside, without=without)
    [reason] = longer_waits([slow, GOOD, slow])
    assert reason.startswith("longest time between two ticks at another client: 300.0 ms is the")
    assert longer_waits([GOOD, slow, GOOD]) == []
    assert longer_waits([slow, noisy, noisy]) == []
    assert longer_waits([slow, noisy, GOOD, slow])
