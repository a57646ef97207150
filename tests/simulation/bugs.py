"""Deliberate bugs: the product with one thing wrong, to see that the simulation bites.

Each is a small variant of one method, as a programmer might have got it wrong, with a pattern for
the finding that must name it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple
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


def _answers_whatever_the_commit_says(desk: OrderDesk) -> CommitResult:
    answers, desk._answers = desk._answers, []
    with contextlib.suppress(LedgerError):
        desk._ledger.commit()
    outcome, desk._commit_result = desk._commit_result, CommitResult()
    outcome.answers = [(answer.session, encode(answer.message)) for answer in answers]
    _report_answers(outcome, answers)
    return outcome


def _forgets_the_newest_unanswered_order(client: OrderClient) -> bytes:
    client._retry_ns = None
    return b"".join(map(encode, list(client.unanswered.values())[:-1]))


def _gives_up_what_is_answered_with_an_error(client: OrderClient, _: int) -> list[Order]:
    return [client.unanswered[order_id] for order_id in client._refused]


_first_for = Stream.first_for


def _replays_from_one_too_late(stream: Stream, request: HelloRequest) -> int:
    first = _first_for(stream, request)
    return min(first + (request.next_sequence != FROM_NOW_ON), stream.next_sequence)


def _begins_again_at_order_1(trader: Trader, ack: LogonAck, under_way: set[str]) -> None:
    _logged_on(trader, LogonAck(ack.client_id, 0, ack.positions), under_way)


_logged_on = Trader.logged_on


def _keeps_the_windows(trader: Trader, tape: str) -> None:
    trader.tape = tape


def _says_nothing_of_a_gap(ingest: TickIngest, event: Joined | WentPlain) -> None:
    if isinstance(event, Joined) and event.new_tape:
        ingest._book.begin_epoch(event.tape)


def _waits_for_ever_for_the_first_word(client: StreamClient) -> int | None:
    return _next_deadline_ns(client) if client.joined or client.tape else None


_next_deadline_ns = StreamClient.next_deadline_ns


def _joins_a_new_tape_from_now_on(stream: Stream, request: HelloRequest) -> int:
    is_new = request.tape not in (None, stream.tape)
    return stream.next_sequence if is_new else _first_for(stream, request)


def _refills_with_what_comes_next(evaluator: Evaluator) -> None:
    _begin_refill(evaluator)
    evaluator._refill.end += 50


_begin_refill = Evaluator._begin_refill


def _throws_ticks_away_as_lapped(evaluator: Evaluator, reader: PriceBookReader) -> bool:
    if evaluator._state is EvaluatorState.EVALUATING and reader.position % 97 == 0:
        ticks = reader.read(5).ticks
        if len(ticks):
            evaluator._note_missed(Span(int(ticks["position"][0]), int(ticks["position"][-1])))
    return _evaluate_new(evaluator, reader)


_evaluate_new = Evaluator._evaluate_new


def _takes_the_future_for_young(risk: Risk, sent_ns: int, now_ns: int, wall_ns: int) -> str | None:
    return _foreign_clock(risk, sent_ns, now_ns, wall_ns) if sent_ns <= now_ns else None


def _takes_any_time_for_monotonic(_: Risk, sent_ns: int, now_ns: int, wall_ns: int) -> None:
    return None


_foreign_clock = Risk.foreign_clock


def _leaves_the_rest_of_a_pass(_reader: PriceBookReader, _position: int) -> None:
    pass


def _serves_clients_that_lag_until_none_does(server: StreamServer) -> bool:
    while server._lagging:
        subscriber = next(iter(server._lagging))
        server._send_batch(subscriber, server._connections[subscriber])
    return False


def _drops_no_stalled_client(server: StreamServer, *parts: Any) -> None:
    _init_server(server, *parts[:-1], NEVER_NS)


_init_server = StreamServer.__init__


def _takes_all_that_has_arrived(manager: OrderManager) -> None:
    with (
        patch.object(order_manager, "MAX_COMMIT_BYTES", 1 << 30),
        patch.object(order_manager, "MAX_TAKING_NS", NEVER_NS),
    ):
        _take_arrived(manager)


_take_arrived = OrderManager._take_arrived


def _is_never_due(_: Subscriber) -> int:
    return NEVER_NS


def _beats_no_more(_loop: EventLoop, _word: memoryview[int], _interval_ns: int) -> None:
    pass


def _trades_on_ticks_of_any_age(trader: Trader, *parts: Any, **further: Any) -> None:
    _init_trader(trader, *parts, **further)
    trader._max_tick_age_ns = NEVER_NS


_init_trader = Trader.__init__


class Bug(NamedTuple):
    """`put_in()` is in the product within its block."""

    put_in: Callable[[], AbstractContextManager[Any]]
    named: str
    """A pattern: at least one finding must match."""


def _bug(cls: type, method: str, variant: Any, named: str) -> Bug:
    return Bug(partial(patch.object, cls, method, variant), named)


BUGS: dict[str, Bug] = {
    "answer before commit": _bug(
        OrderDesk,
        "commit",
        _answers_whatever_the_commit_says,
        r"answered (FILLED|REJECTED) .*, and not in the ledger",
    ),
    "forget one unanswered order at reconnection": _bug(
        OrderClient,
        "resend",
        _forgets_the_newest_unanswered_order,
        r"did not come to rest: unanswered: \[\d+\]",
    ),
    "an order given up at its first error": _bug(
        OrderClient,
        "refused",
        _gives_up_what_is_answered_with_an_error,
        r"filled, and the strategy has given it up",
    ),
    "off by one in the replay": _bug(
        Stream, "first_for", _replays_from_one_too_late, r"were missed and could be replayed"
    ),
    "new tape joined from now on": _bug(
        Stream, "first_for", _joins_a_new_tape_from_now_on, r"were missed and could be replayed"
    ),
    "order_id used again after a restart": _bug(
        Trader,
        "logged_on",
        _begins_again_at_order_1,
        r"order_id is \d+, and the rules give \d+",
    ),
    "window not cleared on a new tape": _bug(
        Trader,
        "begin_tape",
        _keeps_the_windows,
        r"the rules give no order: the signal is none, the sentiment \d+",
    ),
    "sequence gap ignored": _bug(
        TickIngest,
        "begin",
        _says_nothing_of_a_gap,
        r"ticks? \d+.*: not in the book, and not reported as missed",
    ),
    "news awaited for ever": _bug(
        StreamClient,
        "next_deadline_ns",
        _waits_for_ever_for_the_first_word,
        r"did not come to rest: the strategy does not hear the news",
    ),
    "refill takes what is to be evaluated": _bug(
        Evaluator,
        "_begin_refill",
        _refills_with_what_comes_next,
        r"not evaluated, though a strategy had attached before",
    ),
    "a pass as long as the signal makes it": Bug(
        partial(patch.object, trader, "PASS_NS", 1000 * SECOND_NS),
        r"killed after .* of silence, and its signal took",
    ),
    "the rest of a pass forgotten": _bug(
        PriceBookReader,
        "return_to",
        _leaves_the_rest_of_a_pass,
        r"in the book, not evaluated, and not reported as missed",
    ),
    "ticks thrown away and called lapped": _bug(
        Evaluator,
        "_evaluate_new",
        _throws_ticks_away_as_lapped,
        r"was reported as lost in the ring, and is there",
    ),
    "an order from the future is young": _bug(
        Risk,
        "foreign_clock",
        _takes_the_future_for_young,
        r"its sent_ns was (in the future|of the wall clock, .*), and it was FILLED",
    ),
    "any clock is taken for the monotonic one": _bug(
        Risk,
        "foreign_clock",
        _takes_any_time_for_monotonic,
        r"its sent_ns was (no time|monotonic, .*), and it was REJECTED",
    ),
    "a client that is behind starves the others": _bug(
        StreamServer,
        "send_to_lagging",
        _serves_clients_that_lag_until_none_does,
        r"a pass of the gateway took .* ms, and the others had to wait",
    ),
    "a stalled client is never dropped": _bug(
        StreamServer,
        "__init__",
        _drops_no_stalled_client,
        r"a client that took nothing for .* s is still connected",
    ),
    "a commit without a bound": _bug(
        OrderManager,
        "_take_arrived",
        _takes_all_that_has_arrived,
        r"\d+ orders in one commit, and the bound is \d+",
    ),
    "a heartbeat that is forgotten": _bug(
        Subscriber,
        "heartbeat_due_ns",
        _is_never_due,
        r"no frame or heartbeat on the price stream for",
    ),
    "a loop that does not beat": _bug(
        EventLoop, "beat_into", _beats_no_more, r"was killed after .*, and nothing held it up"
    ),
    "a tick of any age is traded on": _bug(
        Trader,
        "__init__",
        _trades_on_ticks_of_any_age,
        r"decided at a tick of .* s ago, and max_tick_age is",
    ),
}
