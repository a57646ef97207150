"""The judge: no finding in good records, and one for each defect that is planted in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from chaos.judge.judge import judge
from chaos.judge.order_replay import MAX_LOST_TICKS
from chaos.judge.records import (
    NO_LAST,
    AppliedNews,
    BegunBy,
    BookAttachment,
    BookedTick,
    Evaluation,
    Gap,
    LedgerOrder,
    LoggedOn,
    OrderAnswer,
    PlayedTick,
    Records,
    SentOrder,
)
from lib.prices import format_price
from lib.settings import RiskSettings
from lib.trading.trader import Decision
from tests.small_run import ABSENCE, BOOK_GAP, KILL, Run, StrategyBug, array, play, play_storm

Plant = Callable[[Records], object]


def setting(**values: Any) -> Plant:
    """Return what sets these fields of the records."""
    return lambda records: vars(records).update(values)


def change(rows: list[Any], index: int, **values: Any) -> None:
    rows[index] = rows[index]._replace(**values)


def index_of(records: Records, tape: str, sequence: int) -> int:
    """Return the index of a tick in the book."""
    return next(i for i, t in enumerate(records.booked) if t[:2] == (tape, sequence))


def change_tick(records: Records, **values: Any) -> None:
    """Change a booked tick in the middle of tape A."""
    change(records.booked, index_of(records, "A", 200), **values)


def lose_tick(records: Records, tape: str, sequence: int) -> None:
    del records.booked[index_of(records, tape, sequence)]


def move_tick(records: Records, sequence: int, places: int) -> None:
    """Move a booked tick of tape A so many places back."""
    index = index_of(records, "A", sequence)
    records.booked.insert(index + places, records.booked.pop(index))


def filled(records: Records) -> int:
    """Return the ledger index of a filled order in the middle."""
    middle = len(records.ledger) // 2
    return next(i for i in range(middle, 0, -1) if records.ledger[i].status == "FILLED")


def filled_id(records: Records) -> int:
    return records.ledger[filled(records)].order_id


def rejected(records: Records, reason: str) -> int:
    """Return the ledger index of the first rejection with this word in its reason."""
    return next(i for i, row in enumerate(records.ledger) if reason in (row.reason or ""))


def without_order(rows: list[Any], order_id: int) -> list[Any]:
    return [row for row in rows if row.order_id != order_id]


def forget(records: Records, order_id: int, *, sent: bool = False) -> None:
    """Remove an order from the ledger, and its answer; optionally the order itself."""
    records.ledger = without_order(records.ledger, order_id)
    records.answers = without_order(records.answers, order_id)
    if sent:
        records.sent = without_order(records.sent, order_id)
    records.positions = dict.fromkeys(records.positions, 0)
    records.positions |= {row.symbol: row.position for row in records.ledger}


def change_filled(records: Records, **values: Any) -> None:
    """Change a filled order in the ledger."""
    change(records.ledger, filled(records), **values)


def change_halted(records: Records, **values: Any) -> None:
    """Change a rejection in the ledger."""
    change(records.ledger, rejected(records, "halted"), **values)


def change_answer(records: Records, **values: Any) -> None:
    """Change the answer to a filled order."""
    order_ids = [answer.order_id for answer in records.answers]
    change(records.answers, order_ids.index(filled_id(records)), **values)


def change_order(records: Records, **values: Any) -> None:
    """Change a filled order, in the log and in the ledger."""
    row = records.ledger[filled(records)]
    keys = [(sent.order_id, sent.tick_sequence) for sent in records.sent]
    change(records.sent, keys.index((row.order_id, row.tick_sequence)), **values)
    change_filled(records, **values)


def change_held_back_order(records: Records) -> None:
    records.held_back = [Gap("B", records.sent[-1].tick_sequence, 400)]
    assert judge(records) == []
    change(records.sent, -1, sentiment=55)


def give_up_a_fill(records: Records) -> None:
    order_id = filled_id(records)
    records.answers = without_order(records.answers, order_id)
    records.given_up.add(order_id)


def lose_what_a_later_order_was_to_take_back(records: Records) -> None:
    """Lose an order from the ledger, and the next one in its symbol altogether."""
    last = records.sent[-1]
    of_symbol = [sent.order_id for sent in records.sent if sent.symbol == last.symbol]
    forget(records, of_symbol[-2])
    forget(records, last.order_id, sent=True)
    assert records.positions[last.symbol] == {"BUY": 10, "SELL": -10}[last.side]


def give_up_what_is_not_booked(records: Records) -> None:
    """Let the strategy give up the orders that are not in the ledger, and then log on."""
    booked = {row.order_id for row in records.ledger}
    records.given_up = {sent.order_id for sent in records.sent} - booked
    before = len(records.sent), len(records.answers)
    logon = LoggedOn(max(booked), dict(records.positions), *before, frozenset(records.given_up))
    records.logons.append(logon)


def lose_the_first_tick_of_a_later_tape(records: Records) -> None:
    lose_tick(records, "B", 1)
    change(records.evaluations, 2, first=2)


def evaluate_twice(records: Records) -> None:
    change(records.evaluations, 1, first=KILL)
    records.strategy_gaps.clear()


def send_one_too_many(records: Records) -> None:
    sequences = {sent.tick_sequence for sent in records.sent if sent.tape == "B"}
    sequence = next(s for s in range(100, 400) if s not in sequences)
    tick = records.tapes["B"][sequence]
    after = sum(s.tape == "A" or s.tick_sequence < sequence for s in records.sent)
    send_again(records, after, symbol=tick.symbol, price=tick.price, tick_sequence=sequence)


def send_again(records: Records, index: int, **values: Any) -> None:
    """Send the last order again, as order 999, with these changes."""
    records.sent.insert(index, records.sent[-1]._replace(order_id=999, **values))


def silence_the_news(records: Records) -> None:
    sequence = records.sent[0].tick_sequence
    records.news = [n for n in records.news if n[:2] != ("A", sequence)]
    records.news.append(AppliedNews("A", sequence, None))


def lose_the_last_news_and_all_that_followed(records: Records) -> None:
    """Lose the log lines from the news before the last order on."""
    last = records.sent[-1]
    while records.news[-1][:2] > (last.tape, last.tick_sequence):
        records.news.pop()
    since = records.news[-1][:2]
    change(records.news, -1, sentiment=50)
    lost = {sent.order_id for sent in records.sent if (sent.tape, sent.tick_sequence) >= since}
    records.sent = [sent for sent in records.sent if sent.order_id not in lost]
    records.answers = [answer for answer in records.answers if answer.order_id not in lost]


UNREPORTED = "in the book, not evaluated, and not reported as missed"
UNSEEN = "not evaluated, though a strategy had attached before"
NOT_IN_BOOK = "not in the book, and not reported as missed"
NO_ANSWER = "in the ledger, and the strategy never got an answer"
RATE = "orders within a second, which is the limit"

PLANTS: list[tuple[str, Plant]] = [
    ("sent, and not in the ledger", lambda r: forget(r, filled_id(r))),
    ("sent, and not in the ledger", lambda r: forget(r, r.sent[-1].order_id)),
    ("filled, and the strategy has given it up", give_up_a_fill),
    ("in the ledger twice", lambda r: r.ledger.insert(filled(r), r.ledger[filled(r)])),
    ("answered FILLED .* not in the ledger", lambda r: r.ledger.pop(filled(r))),
    ("answered REJECTED .* has FILLED", lambda r: change_answer(r, status="REJECTED")),
    ("answered .* 9999, .* ledger has", lambda r: change_answer(r, trade_id=9999)),
    ("answered .* 999, and the ledger has", lambda r: change_answer(r, position=999)),
    ("answered twice", lambda r: r.answers.append(r.answers[-1])),
    (NO_ANSWER, lambda r: r.answers.pop()),
    (r"its trade_id 1 is order \d+'s, too", lambda r: change_filled(r, trade_id=1)),
    ("FILLED .* without a trade_id", lambda r: change_filled(r, trade_id=None)),
    ("the trade_id 5000 and the reason 'halted'", lambda r: change_halted(r, trade_id=5000)),
    ("the trade_id None and the reason ''", lambda r: change_halted(r, reason="")),
    ("AAPL: .* table says 999, .* make it -?10", lambda r: r.positions.update(AAPL=999)),
    ("the position 999 .* make it -?10", lambda r: change_filled(r, position=999)),
    (f"tape A, tick 200: {NOT_IN_BOOK}", lambda r: lose_tick(r, "A", 200)),
    (f"tape B, tick 400: {NOT_IN_BOOK}", lambda r: r.booked.pop()),
    (f"tape B, tick 1: {NOT_IN_BOOK}", lose_the_first_tick_of_a_later_tape),
    (f"C, tick 1: {NOT_IN_BOOK}", lambda r: r.tapes.update(C={1: PlayedTick("AAPL", 100)})),
    ("A, tick 600: in the book behind tape B, which followed", lambda r: move_tick(r, 600, 3)),
    ("A, tick 9: in the book twice", lambda r: r.booked.insert(9, r.booked[8])),
    ("A, tick 200: in the book behind tick 201", lambda r: move_tick(r, 200, 1)),
    ("A, tick 200: .* 0.00000007 in the book, and played", lambda r: change_tick(r, price=7)),
    ("A, tick 200: GOOG at .* and played", lambda r: change_tick(r, symbol="GOOG")),
    ("B, tick 401: .* never played", lambda r: r.booked.append(BookedTick("B", 401, "AAPL", 1))),
    (f"A, ticks 100 to 104: {NOT_IN_BOOK}", lambda r: r.book_gaps.remove(BOOK_GAP)),
    ("A, tick 105: .* orderbook, and in the book", lambda r: change(r.book_gaps, 0, last=105)),
    ("B, ticks 500 to 600: .* 1 to 400", lambda r: r.book_gaps.append(Gap("B", 500, 600))),
    ("B, ticks 390 to 401: .* 1 to 400", lambda r: r.strategy_gaps.append(Gap("B", 390, 401))),
    ("Z, ticks 1 to 9: .* has ticks 1 to 0", lambda r: r.strategy_gaps.append(Gap("Z", 1, 9))),
    ("A, ticks 9 to 8: .* by the strategy", lambda r: r.strategy_gaps.append(Gap("A", 9, 8))),
    ("A, tick 300: .* and evaluated", lambda r: change(r.strategy_gaps, 0, first=KILL)),
    (f"A, ticks 301 to 320: {UNREPORTED}", lambda r: r.strategy_gaps.pop(0)),
    (f"A, ticks 301 to 320: {UNREPORTED}", lambda r: change(r.strategy_gaps, 0, tape="B")),
    ("A, tick 300: evaluated twice", evaluate_twice),
    (f"A, tick 300: {UNREPORTED}", lambda r: change(r.evaluations, 0, last=KILL - 1)),
    (f"A, ticks 599 to 600: {UNREPORTED}", lambda r: change(r.evaluations, 1, last=598)),
    (f"B, tick 1: {UNREPORTED}", lambda r: change(r.evaluations, 2, first=2)),
    (f"B, tick 400: {UNREPORTED}", lambda r: change(r.evaluations, -1, last=399)),
    (r"missing, the rules give \w+ \d+", lambda r: forget(r, filled_id(r), sent=True)),
    (r"B, tick \d+, order 999: .*, and the rules give no order", send_one_too_many),
    ("999: a second order at this tick, after", lambda r: send_again(r, len(r.sent))),
    ("A, tick 310, .* no strategy eval", lambda r: send_again(r, 9, tape="A", tick_sequence=310)),
    ("X, tick 1, .* no strategy eval", lambda r: send_again(r, 9, tape="X", tick_sequence=1)),
    ("side is HOLD, and the rules give (BUY|SELL)", lambda r: change_order(r, side="HOLD")),
    ("quantity is 21, and the rules give [12]0", lambda r: change_order(r, quantity=21)),
    (r"price is 0.00000007, and the rules give [\d.]+", lambda r: change_order(r, price=7)),
    (r"order_id is 1, and the rules give \d+", lambda r: change(r.sent, -1, order_id=1)),
    (r"sentiment is 55, and the rules give \d+", change_held_back_order),
    ("sent was .*, and booked is .* 11 ", lambda r: change_filled(r, quantity=11)),
    ("the rules give no order: .* the sentiment None", silence_the_news),
    ("without tape and tick", lambda r: change(r.ledger, -1, tape=None)),
    ("does not account for it: bad mood", lambda r: change_halted(r, reason="bad mood")),
    (
        "not refused: the position is",
        lambda r: change(
            r.ledger, rejected(r, "assumes"), status="FILLED", reason=None, trade_id=5000
        ),
    ),
    ("not refused: the quantity is .* 9", setting(risk=RiskSettings(max_order_quantity=9))),
    ("not refused: the position would be .* 9", setting(risk=RiskSettings(max_position=9))),
    ("not refused: expired: first sent", setting(order_ttl_ns=1)),
    ("left behind: /dev/shm/tradewire", lambda r: r.left_behind.append("/dev/shm/tradewire")),
]

EXCUSES: dict[str, tuple[Plant, Plant]] = {
    "it may have been in transit": (
        lambda r: forget(r, r.sent[-1].order_id),
        setting(tail_begins={"B": 391}),
    ),
    "its tick may have been in transit": (
        lambda r: forget(r, r.sent[-1].order_id, sent=True),
        setting(tail_begins={"B": 391}),
    ),
    "its tick was held back": (
        lambda r: forget(r, r.sent[-1].order_id, sent=True),
        setting(held_back=[Gap("B", 391, 400)]),
    ),
    "its line in the log was lost": (lambda r: r.answers.pop(), lambda r: r.sent.pop()),
    "it was given up": (lose_what_a_later_order_was_to_take_back, give_up_what_is_not_booked),
    "its lines were lost with supervisord": (
        lose_the_last_news_and_all_that_followed,
        setting(cut_off={"B"}),
    ),
    "the first ticks are not known": (
        lambda r: change(r.sent, -1, sentiment=55),
        setting(whole=False),
    ),
    "the strategy did not run to the end": (
        lambda r: change(r.evaluations, -1, last=391),
        setting(settled=False),
    ),
    "orders that are not booked counted, too": (
        lambda r: change_halted(r, reason=f"strategy has sent 100000 {RATE}"),
        setting(answered_with_error={1}),
    ),
    "there is no limit": (
        setting(risk=RiskSettings(max_order_quantity=9, max_position=9)),
        setting(risk=RiskSettings(max_order_quantity=0, max_position=0)),
    ),
    "its symbol is not traded": (
        lambda r: r.tapes["B"].update({401: PlayedTick("AAPL", 100)}),
        lambda r: r.tapes["B"].update({401: PlayedTick("GOOG", 100)}),
    ),
    "it is older than the recording": (
        lambda r: r.tapes["A"].pop(2),
        lambda r: r.tapes["A"].pop(1),
    ),
}


@pytest.mark.parametrize("played", [play, play_storm])
@pytest.mark.parametrize("seed", range(40))
def test_good_records_give_no_finding(seed: int, played: Callable[[int], Records]) -> None:
    assert judge(played(seed)) == []


@pytest.mark.parametrize(("pattern", "plant"), PLANTS, ids=[pattern for pattern, _ in PLANTS])
def test_a_planted_defect_is_named(pattern: str, plant: Plant) -> None:
    records = play()
    plant(records)
    findings = judge(records)
    assert any(re.search(pattern, finding) for finding in findings), findings


@pytest.mark.parametrize(("plant", "excuse"), EXCUSES.values(), ids=EXCUSES)
def test_what_would_be_a_defect_is_none_with_its_excuse(plant: Plant, excuse: Plant) -> None:
    records = play()
    plant(records)
    assert judge(records) != []
    excuse(records)
    assert judge(records) == []


def test_the_rules_start_with_as_many_ticks_as_the_strategy_has_refilled() -> None:
    records = play(1)  # with an order soon after the refill
    change(records.attached, 1, refilled=0)
    assert "the rules give no order: the signal is none" in judge(records)[0]


def test_the_ticks_of_incomplete_records_are_judged_as_well() -> None:
    records = play()
    records.whole = records.settled = False
    lose_tick(records, "A", 200)
    assert judge(records) == [f"tape A, tick 200: {NOT_IN_BOOK}"]


@pytest.mark.parametrize(
    ("fault", "played"),
    [
        ("windows not cleared", play),
        ("news a batch late", play),
        ("rejections ignored", play),
        ("logons ignored", play_storm),
    ],
)
def test_a_strategy_with_a_bug_is_found_out(
    fault: StrategyBug, played: Callable[[int, StrategyBug], Records]
) -> None:
    findings = [finding for seed in range(40) for finding in judge(played(seed, fault))]
    assert any("the rules give" in finding for finding in findings)


@pytest.mark.parametrize("change_of", ["positions", "last_order_id", "answers_before"])
def test_a_logon_with_a_state_that_the_ledger_never_had_is_named(change_of: str) -> None:
    records = play_storm(3)
    index = len(records.logons) // 2
    wrong = {
        "positions": {**records.logons[index].positions, "AAPL": 999},
        "last_order_id": records.logons[index].last_order_id + 1000,
        # As if all answers had come before: the ledger was so, but not any more.
        "answers_before": len(records.answers),
    }
    change(records.logons, index, **{change_of: wrong[change_of]})
    assert any(finding.startswith("logon after ") for finding in judge(records))
    records.settled = False
    assert judge(records) == []


COLLAR = "the price {price} is more than"
NO_PRICE = "no price to compare with"


@pytest.mark.parametrize(
    ("reason", "is_true"),
    [
        ("expired: first sent 5.001 s before its receipt, and the limit is 5.000 s", True),
        ("expired: first sent 5.002 s before its receipt, and the limit is 5.000 s", False),
        ("expired: first sent 5.001 s before its receipt, and the limit is 0.001 s", False),
        (f"strategy has sent 2 {RATE}", True),
        (f"strategy has sent 3 {RATE}", False),
        (f"other has sent 2 {RATE}", False),
        ("unknown symbol {symbol}", False),
        ("the quantity is {quantity}, and the limit is 9", True),
        ("the quantity is {quantity}, and the limit is 8", False),
        ("the quantity is 5, and the limit is 9", False),
        ("the position would be {after}, and the limit is 9 long or short", True),
        ("the position would be {after}, and the limit is 8 long or short", False),
        ("the position would be 99, and the limit is 9 long or short", False),
        (f"{COLLAR} 12.5% from the latest, {{far}}", True),
        (f"{COLLAR} 12.5% from the latest, {{near}}", False),
        (f"{COLLAR} 0.1% from the latest, {{far}}", False),
        (f"{COLLAR} 12.5% from the latest, 0.00000001", False),
        ("the price 1 is more than 12.5% from the latest, {far}", False),
        ("the position is {before}, and the order assumes 99", False),
        (f"{NO_PRICE}: there is no price book", False),
        ("", False),
    ],
)
def test_a_rejection_needs_a_reason_that_is_true(reason: str, is_true: bool) -> None:
    records = play()
    row = records.ledger[rejected(records, "halted")]
    records.risk = RiskSettings(
        max_order_quantity=9, max_position=9, price_collar_percent=12.5, max_orders_per_second=2
    )
    prices = [tick.price for tick in records.booked if tick.symbol == row.symbol]
    text = reason.format(
        symbol=row.symbol,
        quantity=row.quantity,
        before=row.position,
        after=row.position + (row.quantity if row.side == "BUY" else -row.quantity),
        price=format_price(row.price),
        near=format_price(prices[0]),
        far=format_price(max(prices)),
    )
    change_halted(records, reason=text, sent_ns=row.received_ns - 5_001_000_000)
    named = f"order {row.order_id}: rejected .* does not account for it"
    assert any(re.search(named, finding) for finding in judge(records)) != is_true


@pytest.mark.parametrize(("percent", "is_true"), [(50.0, True), (0.0, False)])
def test_a_price_may_be_missing_only_where_the_price_book_was_lost(
    percent: float, is_true: bool
) -> None:
    records = play()
    records.risk = RiskSettings(price_collar_percent=percent)
    records.lost_books = 1
    change_halted(records, reason=f"{NO_PRICE}: there is no price book")
    named = "rejected .* does not account for it"
    assert any(re.search(named, finding) for finding in judge(records)) != is_true


@pytest.mark.parametrize("error", [False, True])
def test_only_an_order_answered_with_an_error_may_be_missing_before_others(error: bool) -> None:
    records = play()
    first, second = records.ledger[:2]
    assert (second.tape or "", second.tick_sequence or 0) <= ("A", KILL)  # of the same instance
    forget(records, first.order_id)
    if error:
        records.answered_with_error.add(first.order_id)
    assert any("not in the ledger" in finding for finding in judge(records)) != error


class Silent(Run):
    """Lose the last decisions of the strategy before it is killed."""

    since: int

    def submit(self, decision: Decision) -> None:
        order = decision.order
        if order.tape == "B" or order.tick_sequence not in range(self.since, KILL + 1):
            super().submit(decision)


def test_only_the_last_decisions_of_a_killed_instance_may_have_no_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(20):
        monkeypatch.setattr(Silent, "since", 60, raising=False)
        records = Silent(seed).play()
        records.cut_off = {"A", "B"}  # no excuse: on tape A, another instance came after this one
        assert any("missing, the rules give" in finding for finding in judge(records))
        monkeypatch.setattr(Silent, "since", KILL - MAX_LOST_TICKS + 1)
        assert judge(Silent(seed).play()) == []


class Idle(Run):
    """Each instance on tape A refills its windows with its first 100 ticks, unevaluated."""

    def evaluate_all(self, ticks: list[BookedTick], begun_by: BegunBy) -> None:
        if begun_by == "start":
            self.trader.refill(array(ticks[:100]))
            ticks = ticks[100:]
        super().evaluate_all(ticks, begun_by)


def test_an_instance_must_evaluate_everything_after_it_attached() -> None:
    records = Idle(3).play()
    # The second instance reports it as its downtime; the first one left no report.
    records.strategy_gaps[0] = Gap("A", ABSENCE.first, ABSENCE.last + 100)
    unseen = ("ticks 1 to 99", "tick 105", "ticks 321 to 420")
    assert judge(records) == [f"tape A, {text}: {UNSEEN}" for text in unseen]
    records.lapped_at_first = {0, 1}
    assert judge(records) == []


def test_a_strategy_that_never_evaluates_is_named() -> None:
    records = play()
    for of_strategy in ("evaluations", "sent", "answers", "ledger", "news", "strategy_gaps"):
        getattr(records, of_strategy).clear()
    records.positions = dict.fromkeys(records.positions, 0)
    assert judge(records)[-1] == f"tape B, ticks 1 to 400: {UNSEEN}"
    records.attached.clear()
    assert judge(records)[-1] == f"tape B, ticks 1 to 400: {UNSEEN}"
    records.settled = False
    assert judge(records) == []


def test_an_empty_book_begins_behind_the_tape_that_ended_with_its_supervisord() -> None:
    records = play()
    records.cut_off = {"A"}
    records.attached.append(BookAttachment("", 0, 2))
    for first, unseen in ((1, []), (3, [f"tape B, ticks 1 to 2: {UNSEEN}"])):
        change(records.evaluations, 2, begun_by="start", first=first)
        assert [finding for finding in judge(records) if UNSEEN in finding] == unseen


def replaced_book() -> Records:
    """A strategy whose price book is lost after tick 6 of ten, and made anew while it is attached.

    The news say SELL all the time, and the prices fall for the first time at tick 8.
    """
    prices = {sequence: 100 + sequence for sequence in range(1, 8)} | {8: 1, 9: 1, 10: 1}
    records = Records(("AAPL",), 1, 2, 60, 40, 10)
    records.tapes["A"] = {s: PlayedTick("AAPL", price) for s, price in prices.items()}
    records.booked = [BookedTick("A", s, "AAPL", price) for s, price in prices.items()]
    records.attached = [BookAttachment("A", 3, 0, 3), BookAttachment("", 0, 1, 0)]
    records.evaluations = [Evaluation("A", 4, 6, "start"), Evaluation("A", 7, 10, "book")]
    records.news = [AppliedNews("A", 4, 20)]
    records.sent = [SentOrder(1, "AAPL", "SELL", 10, 1, "A", 8, 20)]
    records.answers = [OrderAnswer(1, "FILLED", "AAPL", "SELL", 1, -10, 1)]
    records.ledger = [LedgerOrder(1, "AAPL", "SELL", 10, 1, "FILLED", None, 1, -10, "A", 8, 0, 0)]
    records.positions = {"AAPL": -10}
    return records


def test_a_book_that_replaces_a_lost_one_is_filled_again_and_not_evaluated_again() -> None:
    assert judge(replaced_book()) == []
    records = replaced_book()
    change(records.evaluations, 1, first=8)
    assert judge(records) == [f"tape A, tick 7: {text}" for text in (UNREPORTED, UNSEEN)]


@pytest.mark.parametrize(("sequence", "refilled"), [(0, 0), (3, 3), (6, 0)])
def test_windows_have_what_came_into_a_replaced_book_before_the_first_tick(
    sequence: int, refilled: int
) -> None:
    records = replaced_book()
    # The order is due at the first evaluated tick: only full windows say so.
    change(records.evaluations, 0, last=7)
    change(records.evaluations, 1, first=8)
    tape = "A" if sequence else ""
    records.attached[1] = BookAttachment(tape, sequence, 1, refilled)
    assert judge(records) == []
    # A strategy that had attached behind tick 7, with nothing in the ring, could not know.
    records.attached[1] = BookAttachment("A", 7, 1, 0)
    assert any("the rules give no order" in finding for finding in judge(records))


def lapped_across_tapes() -> Records:
    """An instance that was lapped in tape A, over all of tape B, into tape C at its tick 4.

    The news say BUY all the time, A and B are flat and C rises: with windows that begin empty at
    tick 4, the first averages that say BUY are those of tick 5.
    """
    records = Records(("AAPL",), 1, 2, 60, 40, 10)
    for tape, last, rise in (("A", 10, 0), ("B", 5, 0), ("C", 10, 1)):
        prices = {sequence: 100 + rise * sequence for sequence in range(1, last + 1)}
        records.tapes[tape] = {s: PlayedTick("AAPL", price) for s, price in prices.items()}
        records.booked += [BookedTick(tape, s, "AAPL", price) for s, price in prices.items()]
    records.evaluations = [Evaluation("A", 1, 6), Evaluation("C", 4, 10, "lap")]
    records.strategy_gaps = [Gap("A", 7, NO_LAST), Gap("B", 1, NO_LAST), Gap("C", 1, 3)]
    records.news = [AppliedNews("A", 1, 80)]
    records.sent = [SentOrder(1, "AAPL", "BUY", 10, 105, "C", 5, 80)]
    records.answers = [OrderAnswer(1, "FILLED", "AAPL", "BUY", 1, 10, 1)]
    records.ledger = [LedgerOrder(1, "AAPL", "BUY", 10, 105, "FILLED", None, 1, 10, "C", 5, 0, 0)]
    records.positions = {"AAPL": 10}
    return records


def test_a_lap_into_another_tape_begins_with_empty_windows() -> None:
    assert judge(lapped_across_tapes()) == []
    records = lapped_across_tapes()
    change(records.evaluations, 1, begun_by="book")  # which would have refilled them
    assert any("tick 4, order 1: missing" in finding for finding in judge(records))


def test_what_a_lap_into_another_tape_lost_must_be_reported_of_each_tape() -> None:
    for gap, unseen in enumerate(("A, ticks 7 to 10", "B, ticks 1 to 5", "C, ticks 1 to 3")):
        records = lapped_across_tapes()
        del records.strategy_gaps[gap]
        assert judge(records) == [f"tape {unseen}: {UNREPORTED}"]
