"""Deliberate bugs: the product with one thing wrong, to see that the simulation bites.

Each is a small variant of one method, as a programmer might have got it wrong, with a pattern for
the finding that must name it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

from daemons import order_manager
from daemons.order_manager import OrderManager
from lib.clock import SECOND_NS
from lib.execution.order_desk import CommitResult, OrderDesk, _report_answers
from lib.execution.risk import Risk
from lib.ledger.schema import LedgerError
from lib.net.event_loop import EventLoop
from lib.price_book.ingest import TickIngest
from lib.shared_memory_utils import PriceBookReader
from lib.streams.publication import FROM_NOW_ON, Stream
from lib.streams.server import StreamServer
from lib.streams.stream_client import Joined, StreamClient, WentPlain
from lib.streams.subscriber import Subscriber
from lib.trading import trader
from lib.trading.evaluator import Evaluator, EvaluatorState
from lib.trading.order_client import OrderClient
from lib.trading.trader import Trader
from lib.wire.order_messages import LogonAck, Order, encode
from lib.wire.span import Span
from lib.wire.stream_messages import HelloRequest

NEVER_NS = 1 << 62
Variant = TypeVar("Variant", bound=Callable[..., Any])


class Bug(NamedTuple):
    """`put_in()` is in the product within its block."""

    put_in: Callable[[], AbstractContextManager[Any]]
    named: str
    """A pattern: at least one finding must match."""


BUGS = {
    "makes a pass as long as the signal takes": Bug(
        partial(patch.object, trader, "PASS_NS", 1000 * SECOND_NS),
        r"killed after .* of silence, and its signal took",
    ),
}
"""By name; the variants below enter themselves."""


def bug(
    place: object, name: str, named: str, bugs: dict[str, Bug] = BUGS
) -> Callable[[Variant], Variant]:
    """Enter a variant of a method, or of a module's function, as a bug that a finding must name."""

    def enter(variant: Variant) -> Variant:
        bugs[variant.__name__.strip("_").replace("_", " ")] = Bug(
            partial(patch.object, place, name, variant), named
        )
        return variant

    return enter


@bug(OrderDesk, "commit", r"answered (FILLED|REJECTED) .*, and not in the ledger")
def _answers_whatever_the_commit_says(desk: OrderDesk, _place: object = None) -> CommitResult:
    answers, desk._answers = desk._answers, []
    with contextlib.suppress(LedgerError):
        desk._ledger.commit()
    outcome, desk._commit_result = desk._commit_result, CommitResult()
    outcome.answers = [(answer.session, encode(answer.message)) for answer in answers]
    _report_answers(outcome, answers)
    return outcome


@bug(OrderClient, "resend", r"did not come to rest: unanswered: \[\d+\]")
def _forgets_the_newest_unanswered_order(client: OrderClient) -> bytes:
    client._retry_ns = None
    return b"".join(map(encode, list(client.unanswered.values())[:-1]))


@bug(OrderClient, "refused", r"filled, and the strategy has given it up")
def _gives_up_what_is_answered_with_an_error(client: OrderClient, _: int) -> list[Order]:
    return [client.unanswered[order_id] for order_id in client._refused]


_first_for = Stream.first_for


@bug(Stream, "first_for", r"were missed and could be replayed")
def _replays_from_one_too_late(stream: Stream, request: HelloRequest) -> int:
    first = _first_for(stream, request)
    return min(first + (request.next_sequence != FROM_NOW_ON), stream.next_sequence)


@bug(Trader, "logged_on", r"order_id is \d+, and the rules give \d+")
def _begins_again_at_order_1(trader: Trader, ack: LogonAck, under_way: set[str]) -> None:
    _logged_on(trader, LogonAck(ack.client_id, 0, ack.positions), under_way)


_logged_on = Trader.logged_on


@bug(Trader, "begin_tape", r"the rules give no order: the signal is none, the sentiment \d+")
def _keeps_the_windows(trader: Trader, tape: str) -> None:
    trader.tape = tape


@bug(TickIngest, "begin", r"ticks? \d+.*: not in the book, and not reported as missed")
def _says_nothing_of_a_gap(ingest: TickIngest, event: Joined | WentPlain) -> None:
    if isinstance(event, Joined) and event.new_tape:
        ingest._book.begin_epoch(event.tape)


@bug(StreamClient, "next_deadline_ns", r"did not come to rest: the strategy does not hear the news")
def _waits_for_ever_for_the_first_word(client: StreamClient) -> int | None:
    return _next_deadline_ns(client) if client.joined or client.tape else None


_next_deadline_ns = StreamClient.next_deadline_ns


@bug(Stream, "first_for", r"were missed and could be replayed")
def _joins_a_new_tape_from_now_on(stream: Stream, request: HelloRequest) -> int:
    is_new = request.tape not in (None, stream.tape)
    return stream.next_sequence if is_new else _first_for(stream, request)


@bug(Evaluator, "_begin_refill", r"not evaluated, though a strategy had attached before")
def _refills_with_what_comes_next(evaluator: Evaluator) -> None:
    _begin_refill(evaluator)
    evaluator._refill.end += 50


_begin_refill = Evaluator._begin_refill


@bug(Evaluator, "_evaluate_new", r"was reported as lost in the ring, and is there")
def _throws_ticks_away_as_lapped(evaluator: Evaluator, reader: PriceBookReader) -> bool:
    if evaluator._state is EvaluatorState.EVALUATING and reader.position % 97 == 0:
        ticks = reader.read(5).ticks
        if len(ticks):
            evaluator._note_missed(Span(int(ticks["position"][0]), int(ticks["position"][-1])))
    return _evaluate_new(evaluator, reader)


_evaluate_new = Evaluator._evaluate_new


@bug(
    Risk,
    "foreign_clock",
    r"its sent_ns was (in the future|of the wall clock, .*), and it was FILLED",
)
def _takes_the_future_for_young(risk: Risk, sent_ns: int, now_ns: int, wall_ns: int) -> str | None:
    return _foreign_clock(risk, sent_ns, now_ns, wall_ns) if sent_ns <= now_ns else None


@bug(Risk, "foreign_clock", r"its sent_ns was (no time|monotonic, .*), and it was REJECTED")
def _takes_any_time_for_monotonic(_: Risk, sent_ns: int, now_ns: int, wall_ns: int) -> None:
    return None


_foreign_clock = Risk.foreign_clock


@bug(PriceBookReader, "return_to", r"in the book, not evaluated, and not reported as missed")
def _leaves_the_rest_of_a_pass(_reader: PriceBookReader, _position: int) -> None:
    pass


@bug(
    StreamServer, "send_to_lagging", r"a pass of the gateway took .* ms, and the others had to wait"
)
def _serves_clients_that_lag_until_none_does(server: StreamServer) -> bool:
    while server._lagging:
        subscriber = next(iter(server._lagging))
        server._send_batch(subscriber, server._connections[subscriber])
    return False


@bug(StreamServer, "__init__", r"a client that took nothing for .* s is still connected")
def _drops_no_stalled_client(server: StreamServer, *parts: Any) -> None:
    _init_server(server, *parts[:-1], NEVER_NS)


_init_server = StreamServer.__init__


@bug(OrderManager, "_take_arrived", r"\d+ orders in one commit, and the bound is \d+")
def _takes_all_that_has_arrived(manager: OrderManager, _max_bytes: int) -> None:
    with patch.object(order_manager, "MAX_TAKING_NS", NEVER_NS):
        _take_arrived(manager, 1 << 30)


_take_arrived = OrderManager._take_arrived


@bug(Subscriber, "heartbeat_due_ns", r"no frame or heartbeat on the price stream for")
def _is_never_due(_: Subscriber) -> int:
    return NEVER_NS


@bug(EventLoop, "beat_into", r"was killed after .*, and nothing held it up")
def _beats_no_more(_loop: EventLoop, _word: memoryview[int], _interval_ns: int) -> None:
    pass


@bug(Trader, "__init__", r"decided at a tick of .* s ago, and max_tick_age is")
def _trades_on_ticks_of_any_age(trader: Trader, *parts: Any, **further: Any) -> None:
    _init_trader(trader, *parts, **further)
    trader._max_tick_age_ns = NEVER_NS


_init_trader = Trader.__init__
