"""A stack seen from outside: what is there is shown, and what is missing is said to be."""

from __future__ import annotations

import gc
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from lib.dashboard import observer as observer_module
from lib.dashboard.metrics import metrics
from lib.dashboard.observer import MAX_PRICES_SHOWN, NO_PRICE_BOOK, Observer
from lib.dashboard.view import View
from lib.execution.risk import HALT_FILE
from lib.prices import PRICE_SCALE
from lib.process.supervisor import Process
from lib.settings import PriceBookSettings, Settings
from lib.shared_memory_utils import SharedPriceBook
from lib.trading.decision_log import DecisionLog, decision_log_path
from tests.ledgers import write_ledger
from tests.observed import Programs, raw

SYMBOLS = ("AAPL", "MSFT")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "log").mkdir()
    book = PriceBookSettings(name=f"tw-test-{os.getpid()}-{secrets.token_hex(4)}")
    return Settings(var_dir=tmp_path, symbols=SYMBOLS, price_book=book)


@pytest.fixture
def programs() -> Programs:
    return Programs([Process("gateway", "RUNNING", 1)])


@pytest.fixture
def observer(settings: Settings, programs: Programs) -> Iterator[Observer]:
    made = Observer(settings, programs, settings.var_dir)
    yield made
    made.close()


@pytest.fixture
def book(settings: Settings) -> Iterator[SharedPriceBook]:
    with SharedPriceBook(SYMBOLS, settings.price_book.name, ring_capacity=1024) as made:
        made.begin_epoch("tape")
        yield made
        made.unlink()


def write(book: SharedPriceBook, first: int, *dollars: float, symbol: int = 0) -> None:
    """Ticks of one symbol, sent now."""
    prices = np.array([round(d * PRICE_SCALE) for d in dollars], np.int64)
    sequences = np.arange(first, first + len(prices))
    book.update_batch(
        np.full(len(prices), symbol, np.int32), prices, sequences, time.monotonic_ns()
    )


def look(observer: Observer, symbol: str = "AAPL") -> View:
    observer.look()
    return observer.view(symbol)


def append(settings: Settings, program: str, *lines: bytes) -> None:
    with (settings.var_dir / "log" / f"{program}.jsonl").open("ab") as log:
        log.write(b"".join(lines))


def test_of_a_stack_that_is_not_there_every_part_says_what_it_waits_for(settings):
    observer = Observer(settings, Programs(None), settings.var_dir)
    view = look(observer)
    assert view.missing["roles"] == "supervisord does not answer: connection refused"
    assert "the orderbook makes it" in view.missing["prices"]
    assert "the order manager makes it" in view.missing["ledger"]
    assert (view.roles, view.incidents, view.orders) == ([], [], [])
    assert [price.price for price in view.prices] == [None, None]
    assert view.latency.p50_us is None
    assert (view.realised, view.open_profit, view.filled) == (None, None, None)
    assert "news" in view.missing


@pytest.mark.parametrize("tape", ["another", ""], ids=["named", "a stream without numbers"])
def test_ticks_become_prices_and_a_new_tape_is_followed(observer, book, tape):
    write(book, 1, 100.0, 101.0)
    observer.look()
    write(book, 3, 103.0)
    view = look(observer)
    assert (view.prices[0].price, view.prices[0].change) == (103.0, 0.03)
    assert view.prices[1].price is None
    assert "prices" not in view.missing
    assert (view.tape, observer.ticks) == ("tape", 3)
    assert view.course.symbol == "AAPL"
    book.begin_epoch(tape)
    write(book, 1, 50.0, symbol=1)
    view = look(observer, "MSFT")
    assert (view.tape, view.prices[0].price, view.prices[1].price) == (tape, None, 50.0)


def test_slow_ticks_count_though_the_observer_skips_some(observer, settings, book, monkeypatch):
    monkeypatch.setattr(observer_module, "MAX_TICKS_A_LOOK", 10)
    log = DecisionLog(decision_log_path(settings.var_dir, settings.strategy.client_id))
    write(book, 1, 100.0)
    log.add("tape", 1, 1, time.monotonic_ns())
    observer.look()
    write(book, 2, *[100.0] * 10)
    observer.look()
    write(book, 12, *[100.0] * 100)  # more than it looks at, before the others are decided
    observer.look()
    log.add("tape", 2, 111, time.monotonic_ns() + 1_000_000)
    latency = look(observer).latency
    assert latency.ticks == 20
    assert latency.p50_us > 1000


def test_a_book_of_other_symbols_is_said_to_be_one(settings, programs, book):
    view = look(Observer(replace(settings, symbols=("NVDA",)), programs, settings.var_dir), "NVDA")
    assert "other symbols than the settings: AAPL, MSFT" in view.missing["prices"]


def test_who_is_too_slow_for_the_ticks_shows_the_newest_and_no_false_averages(
    observer, book, monkeypatch
):
    monkeypatch.setattr(observer_module, "MAX_TICKS_A_LOOK", 10)
    write(book, 1, *[100.0] * 60)
    observer.look()
    assert look(observer).prices[0].price == 100.0
    write(book, 61, *[float(200 + number) for number in range(500)])
    view = look(observer)
    assert (view.prices[0].price, view.prices[0].price_signal) == (699.0, 0)


def test_each_strategy_has_a_row_of_its_own(settings, programs, book):
    further = replace(settings.strategy, client_id="alice", signal_class="mine:Own")
    settings = replace(settings, strategies={"second": further, "idle": settings.strategy})
    write_ledger(settings.var_dir / settings.order_manager.ledger)
    observer = Observer(settings, programs, settings.var_dir)
    write(book, 1, 100.0)
    log = DecisionLog(decision_log_path(settings.var_dir, "alice"))
    log.add("tape", 1, 1, time.monotonic_ns())
    observer.look()
    write(book, 2, 100.0)
    log.add("tape", 2, 2, time.monotonic_ns() + 1_000_000)
    view = look(observer)
    first, second, _ = view.strategies
    assert (first.name, first.client_id, first.filled) == ("strategy", "strategy", 0)
    assert first.p50_us is None
    assert (second.name, second.client_id, second.signal_class) == ("second", "alice", "mine:Own")
    assert (second.filled, second.rejected, second.held) == (4, 1, 1)
    assert second.realised == pytest.approx(view.realised - 7 * 5.21)
    assert second.p50_us > 1000
    assert view.latency.p50_us is None  # of [strategy] alone, as the page says


def test_what_was_logged_before_is_shown_and_not_counted(settings, programs):
    append(settings, "gateway", raw("crashed", reason="early"), raw("connected", stream="price"))
    observer = Observer(settings, programs, settings.var_dir)
    observer.look()
    filled = raw("order_filled", by="order_manager", order_id=1)
    append(settings, "gateway", raw("connected", stream="price"))
    append(settings, "strategy", raw("news_applied", sentiment=70))
    append(settings, "order_manager", filled, raw("order_rejected", by="order_manager"))
    view = look(observer)
    assert [one.what for one in view.incidents] == ["crashed: early"]
    assert observer.counters.connections == {("gateway", "price"): 1}
    assert view.news.sentiment == 70
    assert "news" not in view.missing
    assert observer.counters.orders == {"filled": 1, "rejected": 1}
    assert [order.status for order in view.orders] == ["REJECTED", "FILLED"]


def test_logs_that_grow_faster_than_they_are_read_hold_up_no_look(settings, programs, monkeypatch):
    missed = [raw("ticks_missed", first=n, last=n, where="strategy") for n in range(1, 9)]
    monkeypatch.setattr(observer_module, "LOG_STEP_BYTES", 2 * len(missed[0]))
    monkeypatch.setattr(observer_module, "LOG_NS", -1)  # a step a look
    observer = Observer(settings, programs, settings.var_dir)
    observer.look()
    append(settings, "strategy", *missed)
    counts = []
    for _ in missed:
        observer.look()
        counts.append(observer.counters.ticks_missed["strategy"])
    assert 0 < counts[0] < counts[1] < counts[-1] == len(missed)
    observer.close()


def test_the_logs_are_where_supervisord_is_though_var_dir_is_elsewhere(
    settings, programs, tmp_path
):
    append(settings, "gateway", raw("crashed", reason="early"))
    elsewhere = replace(settings, var_dir=tmp_path / "elsewhere")
    observer = Observer(elsewhere, programs, settings.var_dir)
    assert [one.what for one in look(observer).incidents] == ["crashed: early"]


def test_lines_of_several_logs_are_taken_in_the_order_of_time(settings, programs):
    def at(second: int, event: str, **facts) -> bytes:
        return raw(event, **facts).replace(b"03:04:05", b"03:04:%02d" % second)

    append(settings, "gateway", at(1, "started"), at(7, "started"))
    append(settings, "watchdog", at(5, "role_ended", program="gateway"))
    observer = Observer(settings, programs, settings.var_dir)
    assert [one.duration_s for one in look(observer).incidents] == [2.0]


def test_a_program_is_up_while_its_process_runs_and_supervisord_says_so(observer, programs):
    programs.programs = [
        Process("gateway", "RUNNING", 1),
        Process("orderbook", "RUNNING", 2**22 + 1),  # no such process
        Process("strategy", "FATAL", 0, "port taken"),
        Process("watchdog", "STARTING", 1),
    ]
    roles = look(observer).roles
    assert [(role.is_up, role.state) for role in roles] == [
        (True, "RUNNING"),
        (False, "ENDED"),
        (False, "FATAL"),
        (False, "STARTING"),
    ]
    assert roles[0].uptime_s > 0
    assert roles[0].resident_bytes > 1_000_000
    assert (roles[1].pid, roles[2].problem) == (0, "port taken")
    observer.look()
    assert programs.asked == 1  # that one has ended is no reason to wake supervisord


def test_starts_after_the_first_one_of_this_run_are_restarts(observer, settings):
    log = settings.var_dir / "supervisord.log"
    begun = "2026-01-02 03:04:05,000 INFO supervisord started with pid 7\n"
    spawned = "2026-01-02 03:04:06,000 INFO spawned: 'gateway' with pid 8\n"
    log.write_text(begun + spawned * 5)
    assert look(observer).roles[0].restarts == 4
    with log.open("a") as file:
        file.write(begun + spawned * 2)
    assert look(observer).roles[0].restarts == 1


def test_the_ledger_says_what_is_held_and_earned(observer, settings, book):
    write_ledger(settings.var_dir / settings.order_manager.ledger)
    write(book, 1, 180.0)
    write(book, 2, 330.0, symbol=1)
    view = look(observer)
    aapl, msft = view.prices
    assert aapl.position == 10 + 5 - 4 - 30
    assert msft.position == 0
    assert msft.realised == pytest.approx(7 * 5.21)
    assert view.realised == pytest.approx(aapl.realised + msft.realised)
    assert aapl.open_profit == view.open_profit
    assert aapl.open_profit == pytest.approx(-19 * (180.0 - 171.5))
    assert (view.filled, view.rejected) == (6, 2)


def test_what_is_held_of_a_symbol_without_a_price_has_no_profit_yet(observer, settings, book):
    history = "alice 1 BUY 10 AAPL @ 100\nbob 1 SELL 10 AAPL @ 120"
    path = write_ledger(settings.var_dir / settings.order_manager.ledger, history)
    write(book, 1, 50.0)
    view = look(observer)
    assert (view.prices[0].position, view.prices[0].open_profit, view.open_profit) == (0, 200, 200)
    path.unlink()
    write_ledger(path, "alice 1 BUY 1 NVDA @ 100")
    observer._ledger_ns = 0
    view = look(observer)
    nvda = view.prices[-1]
    assert (nvda.symbol, nvda.position, nvda.price, nvda.open_profit) == ("NVDA", 1, None, None)
    assert view.open_profit is None


def test_of_many_symbols_those_that_are_held_are_shown_too(settings, programs):
    symbols = tuple(f"S{number}" for number in range(300))
    write_ledger(settings.var_dir / settings.order_manager.ledger, "alice 1 BUY 1 S250 @ 100")
    observer = Observer(replace(settings, symbols=symbols), programs, settings.var_dir)
    shown = [price.symbol for price in look(observer, "S299").prices]
    assert shown == [*symbols[:MAX_PRICES_SHOWN], "S250", "S299"]


def test_a_halt_is_seen(observer, settings):
    assert not look(observer).halted
    (settings.var_dir / HALT_FILE).touch()
    assert observer.view("AAPL").halted


def test_clients_at_their_loss_limit_are_seen_where_there_is_one(settings, programs):
    (settings.var_dir / "LOSS_LIMIT-alice").touch()
    assert Observer(settings, programs, settings.var_dir).view("AAPL").at_loss_limit == []
    limited = replace(settings, risk=replace(settings.risk, max_loss=1.0))
    assert Observer(limited, programs, settings.var_dir).view("AAPL").at_loss_limit == ["alice"]


def test_a_ledger_that_is_locked_is_said_to_be_so_and_not_waited_for(observer, settings):
    path = write_ledger(settings.var_dir / settings.order_manager.ledger)
    assert "ledger" not in look(observer).missing
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        observer._ledger_ns = 0
        view = look(observer)
        assert "locked" in view.missing["ledger"]
        assert view.prices[0].position != 0  # what was known stands


def test_what_is_seen_of_a_stack_makes_its_health(observer, settings, programs, book):
    programs.programs = [
        Process(name, "RUNNING", 1)
        for name in ("gateway", "orderbook", "order_manager", "second_strategy")
    ]
    observer.look()
    assert [problem.split()[:2] for problem in observer.health().problems] == [
        ["ledger", f"{settings.var_dir / 'orders.sqlite'}:"],
        ["no", "tick"],
    ]
    write_ledger(settings.var_dir / settings.order_manager.ledger)
    append(settings, "second_strategy", raw("news_silent", by="strategy"))
    observer.look()
    assert observer.health().roles["second_strategy"].role == "strategy"
    assert observer.health().problems[-1].startswith("no news is in force")
    # What another run has logged of a strategy that this one has not does not count.
    append(settings, "strategy", raw("news_silent", by="strategy"))
    append(settings, "second_strategy", raw("news_applied", by="strategy", sentiment=70))
    append(settings, "order_manager", raw("order_filled", by="order_manager", order_id=1))
    write(book, 1, 100.0)
    observer._ledger_ns = 0
    observer.look()
    health = observer.health()
    assert health.problems == []
    assert health.is_healthy
    assert 0 <= health.tick_age_s < health.news_age_s
    assert health.news_age_s == pytest.approx(health.order_age_s)
    assert health.roles["gateway"].state == "RUNNING"
    book.unlink()
    while observer._book.book is not None:
        observer.look()
    assert observer.health().problems == [NO_PRICE_BOOK]


def test_the_health_of_a_stack_that_is_not_there_says_so(settings):
    health = Observer(settings, Programs(None), settings.var_dir).health()
    assert not health.is_healthy
    assert health.problems[0] == "supervisord has not answered yet"
    assert NO_PRICE_BOOK in health.problems
    assert (health.tick_age_s, health.news_age_s, health.order_age_s) == (None, None, None)


def test_the_end_of_a_tape_is_shown_and_no_problem_until_another_one_begins(
    observer, settings, book
):
    write(book, 1, 100.0)
    assert look(observer).ended_ticks is None
    append(settings, "gateway", raw("tape_ended", tape="tape", ticks=1))
    assert look(observer).ended_ticks == 1
    assert observer.health().has_tape_ended
    append(settings, "gateway", raw("tape_started", tape="another"))
    assert look(observer).ended_ticks is None
    assert not observer.health().has_tape_ended


def test_the_end_of_the_tape_before_is_not_shown_as_that_of_this_one(observer, settings, book):
    append(settings, "gateway", raw("tape_ended", tape="before", ticks=1))
    assert look(observer).ended_ticks is None  # its file is still prepared
    write(book, 1, 100.0)
    assert look(observer).ended_ticks is None
    assert not observer.health().has_tape_ended


def test_the_end_of_the_news_is_no_problem_until_another_tape_begins(observer, settings):
    append(settings, "gateway", raw("news_ended", tape="tape", sentiments=1))
    observer.look()
    append(settings, "gateway", raw("tape_ended", tape="tape", ticks=1))
    observer.look()
    assert observer.health().have_news_ended
    append(settings, "gateway", raw("tape_started", tape="another"))
    observer.look()
    assert not observer.health().have_news_ended


def test_the_tape_is_shown_while_it_is_prepared_and_never_down(observer, settings, programs, book):
    gateway = Process("gateway", "RUNNING", os.getpid())
    programs.programs = [gateway, Process("tape", "RUNNING", os.getpid())]
    append(settings, "tape", raw("tape_preparing", kind="ticks", what="reading", share=0.42))
    view = look(observer)
    assert [role.program for role in view.roles] == ["gateway", "tape"]
    assert view.missing["prices"] == "the first tick: the tape is being prepared: reading, 42 %"
    append(settings, "tape", raw("stopped", pid=os.getpid()))
    programs.programs = [gateway, Process("tape", "EXITED", 0)]
    observer.roles._ask_ns = 0
    view = look(observer)
    assert [role.program for role in view.roles] == ["gateway"]
    assert view.missing["prices"] == "the first tick"
    assert view.incidents == []
    assert "tape" not in "".join(observer.health().problems)


def test_the_news_of_a_strategy_that_was_killed_are_not_missed(observer, settings, programs):
    programs.programs = [Process("strategy", "RUNNING", 1)]
    append(settings, "strategy", raw("news_silent", by="strategy"))
    observer.look()
    assert observer.health().is_news_in_force is False
    append(settings, "watchdog", raw("role_ended", by="watchdog", program="strategy"))
    observer.look()
    assert observer.health().is_news_in_force is None


def test_a_ledger_that_is_locked_or_slow_is_a_problem_of_the_stack_after_a_while(
    observer, settings, monkeypatch
):
    path = write_ledger(settings.var_dir / settings.order_manager.ledger)
    observer.look()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        observer._ledger_ns = 0
        observer.look()
        assert observer.health().ledger == ""
        monkeypatch.setattr(observer_module, "LEDGER_LATE_NS", 0)
        observer._ledger_ns = 0
        observer.look()
        assert "locked" in observer.health().ledger
    monkeypatch.undo()
    observer._ledger_ns = 0
    observer.look()
    assert observer.health().ledger == ""
    path.write_bytes(b"no ledger at all")
    observer._ledger_ns = 0
    observer.look()
    assert observer.health().ledger


def test_what_the_alerts_log_is_not_of_the_watchdog(observer, settings, programs):
    programs.programs = [Process("watchdog", "RUNNING", 1)]
    append(settings, "watchdog", raw("stopped", by="watchdog"), raw("started", by="alerts"))
    [stopped] = look(observer).incidents
    assert (stopped.where, stopped.is_over) == ("watchdog", False)
    append(settings, "watchdog", raw("stopped", by="alerts"))
    assert {one.where: one.is_over for one in look(observer).incidents} == {
        "watchdog": False,
        "alerts": True,
    }
    assert observer.counters.events == {("alerts", "info"): 1}


def test_looks_leave_no_cycles_behind(observer, settings, book, monkeypatch):
    monkeypatch.setattr(observer_module, "MAX_TICKS_A_LOOK", 10)
    write_ledger(settings.var_dir / settings.order_manager.ledger)
    log = DecisionLog(decision_log_path(settings.var_dir, settings.strategy.client_id))
    applied = raw("news_applied", by="strategy", sentiment=70)
    first = 1

    def look_at_more_than_it_reads() -> None:
        nonlocal first
        write(book, first, *[100.0] * 30)
        log.add("tape", first, first + 29, time.monotonic_ns())
        append(settings, "strategy", applied)
        first += 30
        observer._ledger_ns = 0
        look(observer)
        metrics(observer, pages=1)
        observer.health()

    look_at_more_than_it_reads()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            look_at_more_than_it_reads()
        left = gc.collect()
    finally:
        gc.enable()
    assert left < 20  # less than one object a look


def test_the_sentiment_of_a_killed_strategy_is_not_in_force(observer, settings):
    append(settings, "strategy", raw("news_applied", by="strategy", sentiment=70))
    assert look(observer).news.sentiment == 70
    append(settings, "watchdog", raw("role_ended", by="watchdog", program="strategy"))
    view = look(observer)
    assert view.news.sentiment is None
    assert "news" in view.missing


def test_what_an_earlier_run_logged_of_another_program_is_over(observer, settings):
    append(settings, "second_strategy", raw("stopped", by="strategy"))
    [stopped] = look(observer).incidents
    assert (stopped.where, stopped.is_over) == ("second_strategy", True)
