"""The line at the end of a tape: when it is due, and what it says."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.clock import MILLISECOND_NS
from lib.dashboard import tape_result
from lib.dashboard.tape_result import (
    PATIENCE_NS,
    SETTLED_NS,
    Figures,
    Settling,
    TapeResult,
    result_line,
)
from lib.settings import PriceBookSettings, Settings
from lib.shared_memory_utils import SharedPriceBook
from lib.stack.log_follower import NOTICE, WARNING
from lib.trading.checkpoint import LastEvaluated, last_evaluated_path
from tests.ledgers import HISTORY, write_ledger
from tests.observed import raw

TICKS = 251
ALL, SOME = {"strategy": TICKS}, {"strategy": 180}
FIGURES = Figures(filled=14, rejected=2, realised=100.0)
LOOK_NS = 500 * MILLISECOND_NS


def settled_after(settling: Settling, *looks: tuple[dict[str, int], Figures | str]) -> int | None:
    """After how many ns it is over, the last look being repeated; None if it is not."""
    now_ns = 0
    while now_ns <= 3 * PATIENCE_NS:
        evaluated, figures = looks[min(now_ns // LOOK_NS, len(looks) - 1)]
        if settling.is_over(evaluated, figures, now_ns):
            return now_ns
        now_ns += LOOK_NS
    return None


def test_it_is_over_once_all_is_evaluated_and_the_ledger_does_not_change():
    assert settled_after(Settling(TICKS, 0), (ALL, FIGURES)) == SETTLED_NS
    looks = [(SOME, FIGURES), (ALL, FIGURES), (ALL, FIGURES._replace(filled=15))]
    assert settled_after(Settling(TICKS, 0), *looks) == 2 * LOOK_NS + SETTLED_NS


def test_a_slow_strategy_is_awaited_for_as_long_as_it_goes_on():
    looks = [({"strategy": tick // 10}, FIGURES) for tick in range(10 * TICKS)]
    settling = Settling(TICKS, 0)
    for number, (evaluated, figures) in enumerate(looks):
        assert not settling.is_over(evaluated, figures, number * LOOK_NS)


@pytest.mark.parametrize("figures", [FIGURES, "ledger x: locked"])
def test_a_strategy_that_stands_still_is_not_awaited_for_ever(figures):
    looks = [(SOME, figures), ({"strategy": 181}, figures)]
    assert settled_after(Settling(TICKS, 0), *looks) == LOOK_NS + PATIENCE_NS


def test_a_ledger_that_cannot_be_read_or_never_rests_is_not_awaited_for_ever():
    assert settled_after(Settling(TICKS, 0), (ALL, "ledger x: locked")) == PATIENCE_NS
    others_trade = [(ALL, FIGURES._replace(filled=number)) for number in range(1000)]
    assert settled_after(Settling(TICKS, 0), *others_trade) == PATIENCE_NS


def test_a_ledger_that_was_locked_for_a_moment_is_awaited():
    looks = [(ALL, "ledger x: locked"), (ALL, FIGURES)]
    assert settled_after(Settling(TICKS, 0), *looks) == LOOK_NS + SETTLED_NS


def test_the_line_has_ticks_orders_and_profit_since_the_start():
    before = Figures(filled=4, rejected=2, realised=-0.001)
    line = result_line(TICKS, ALL, FIGURES, before, -1234.5)
    assert line == (
        "main.py",
        "tape ended after 251 ticks: since the start 10 orders filled, 0 rejected, "
        "realised profit +100.00; open profit -1,234.50",
        NOTICE,
        *line[3:],
    )
    line = result_line(1, {}, Figures(filled=1, realised=-0.001), Figures(), 0.0)
    assert line.text == (
        "tape ended after 1 tick: since the start 1 order filled, 0 rejected, "
        "realised profit 0.00; open profit 0.00"
    )


def test_the_line_says_what_is_not_known():
    before = "ledger x: takes too long to read"
    line = result_line(TICKS, SOME | {"second": 0}, FIGURES, before, None)
    assert line.level == WARNING
    assert line.text == (
        "tape ended after 251 ticks: in the ledger 14 orders filled, 2 rejected, "
        "realised profit +100.00; open profit unknown: a symbol is held that has no price; "
        "strategy has evaluated 180 of 251 ticks; second has evaluated 0 of 251 ticks"
    )
    line = result_line(TICKS, ALL, "ledger x: damaged", before, None)
    assert (line.level, line.text) == (
        WARNING,
        "tape ended after 251 ticks: orders and profit are unknown: ledger x: damaged",
    )


# With files


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(tape_result, "READ_NS", 0)
    monkeypatch.setattr(tape_result, "READ_SHARE", 0)
    monkeypatch.setattr(tape_result, "SETTLED_NS", 0)
    (tmp_path / "log").mkdir()
    book = PriceBookSettings(name=f"tw-test-{os.getpid()}-{secrets.token_hex(4)}")
    return Settings(var_dir=tmp_path, symbols=("AAPL", "MSFT"), price_book=book)


def end_tape(settings: Settings, tape: str = "tape", ticks: int = 2) -> None:
    with (settings.var_dir / "log" / "gateway.jsonl").open("ab") as log:
        log.write(raw("tape_ended", tape=tape, ticks=ticks))


def evaluated(settings: Settings) -> LastEvaluated:
    return LastEvaluated(last_evaluated_path(settings.var_dir, settings.strategy.client_id))


@contextmanager
def price_book(settings: Settings) -> Iterator[None]:
    """A book in which AAPL is at 170."""
    with SharedPriceBook(settings.symbols, settings.price_book.name, ring_capacity=64) as book:
        book.update("AAPL", 170.0)
        yield
        book.unlink()


def said(result: TapeResult) -> list[str]:
    return [line.text for line in result.look()]


def test_the_figures_are_those_of_this_run_and_come_once_a_tape(settings):
    ledger = settings.var_dir / settings.order_manager.ledger
    *earlier, last = HISTORY.strip().splitlines()
    write_ledger(ledger, "\n".join(earlier))
    end_tape(settings)  # in the run before
    result = TapeResult(settings, settings.all_strategies())
    assert said(result) == []
    ledger.unlink()
    write_ledger(ledger)  # the same ledger, one order later: alice sells 11 of 11, and 19 short
    assert last == "alice 5 SELL 30 AAPL @ 171.5"
    end_tape(settings)
    assert said(result) == []
    progress = evaluated(settings)
    progress.store("before", 2)
    assert said(result) == []
    progress.store("tape", 1)
    assert said(result) == []
    progress.store("tape", 2)
    with price_book(settings):
        [line] = said(result)
    # Of 10 at 173.2 and 5 at 174, 4 were sold: 11 are left at 173.46666667.
    assert line == (
        "tape ended after 2 ticks: since the start 1 order filled, 0 rejected, "
        "realised profit -21.63; open profit +28.50"
    )
    end_tape(settings)  # by a gateway that was restarted
    assert said(result) == []
    progress.store("next", 2)
    end_tape(settings, "next")
    assert len(said(result)) == 1
    result.close()


def test_without_a_ledger_a_strategy_and_a_price_book_the_line_comes_all_the_same(
    settings, monkeypatch
):
    result = TapeResult(settings, settings.all_strategies())
    end_tape(settings)
    assert said(result) == []
    monkeypatch.setattr(tape_result, "PATIENCE_NS", 0)
    ledger = settings.var_dir / settings.order_manager.ledger
    assert said(result) == [
        f"tape ended after 2 ticks: orders and profit are unknown: ledger {ledger}: not there; "
        "the order manager makes one when it starts; strategy has evaluated 0 of 2 ticks"
    ]
    result.close()


def test_a_damaged_ledger_costs_a_line(settings, monkeypatch):
    monkeypatch.setattr(tape_result, "PATIENCE_NS", 0)
    ledger = settings.var_dir / settings.order_manager.ledger
    ledger.write_bytes(b"no ledger " * 1000)
    result = TapeResult(settings, {})
    end_tape(settings)
    [line] = said(result)
    assert f"orders and profit are unknown: ledger {ledger}: damaged" in line
    result.close()


@pytest.mark.parametrize("symbol", ["NVDA", "MSFT"], ids=["not in the settings", "no tick"])
def test_a_held_symbol_without_a_price_leaves_the_open_profit_unknown(settings, symbol):
    result = TapeResult(settings, {})
    write_ledger(settings.var_dir / settings.order_manager.ledger, f"alice 1 BUY 7 {symbol} @ 100")
    end_tape(settings)
    with price_book(settings):
        assert said(result) == [
            "tape ended after 2 ticks: since the start 1 order filled, 0 rejected, "
            "realised profit 0.00; open profit unknown: a symbol is held that has no price"
        ]
    result.close()


def test_a_total_of_another_ledger_is_not_subtracted():
    made = [datetime(2025, 11, day, tzinfo=UTC) for day in (3, 4)]
    before, now = (Figures(created, filled=3, realised=1.0) for created in made)
    assert now.since(before) == now
    assert now.since(Figures()) == now
