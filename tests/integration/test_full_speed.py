"""A tape from a file at `rate = 0`: the slowest strategy sets the pace, and no tick is lapped.

Under one sentiment that gives the orders of the oracle, all of them, each time.
"""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench.measure.measured_stack import add_strategy_programs
from lib.shared_memory_utils import SharedPriceBook
from tests.helpers import PROJECT_ROOT, wait_until
from tests.integration.test_oracle import (
    CASES,
    RULES,
    SYMBOLS,
    Tick,
    last_evaluated,
    orders_of,
    read_tape,
    run_of,
)
from tests.stack import PrivateStack, copy_project

DAYS, RUNS = 252, 3
ONE_YEAR = PROJECT_ROOT.parent / "shared" / "cases" / "tapes" / "t05_one_year_daily.csv"


def give_the_orders_of_the_rules(
    directory: Path, gateway: dict[str, Any], tape: list[Tick], sentiment: int
) -> None:
    """Play a tape under one sentiment in RUNS stacks."""
    news_path = directory / "news.csv"
    news_path.write_text(f"{sentiment}\n" * 100)
    expected = list(orders_of(RULES, tape, {1: sentiment}, 1))
    assert expected
    settings = {
        "": {"symbols": list(dict.fromkeys(tick.symbol for tick in tape))},
        "gateway": {
            "source": "file",
            "rate": 0.0,
            "news_path": str(news_path),
            "news_interval": 100.0,
            **gateway,
        },
    }
    for _ in range(RUNS):
        with PrivateStack(settings) as stack:
            stack.start()
            wait_until(lambda s=stack: last_evaluated(s) == len(tape), "the last tick is evaluated")
            wait_until(  # a tick is stored as evaluated before its orders are sent
                lambda s=stack: len(s.events("strategy", "order_filled")) >= len(expected),
                "the orders are answered",
            )
            run = run_of(stack, tape, CASES["real"])
            assert run.first_evaluated == 1
            assert run.news == {1: sentiment}
            assert run.missed == []
            assert run.sent == expected


@pytest.mark.parametrize(("seed", "sentiment"), [(1, 80), (2, 20)])
def test_a_short_tape_gives_the_orders_of_the_rules_in_every_run(
    tmp_path: Path, seed: int, sentiment: int
) -> None:
    random, price = Random(seed), 15_000
    rows = []
    for _ in range(DAYS):
        price += random.randint(-150, 150)
        rows.append(f"{random.choice(SYMBOLS[:3])},{price / 100:.2f}\n")
    path = tmp_path / "tape.csv"
    path.write_text("".join(["Symbol,Close\n", *rows]))
    give_the_orders_of_the_rules(tmp_path, {"path": str(path)}, read_tape(path), sentiment)


@pytest.mark.skipif(not ONE_YEAR.is_file(), reason=f"{ONE_YEAR} is not here")
@pytest.mark.parametrize("sentiment", [80, 20])
def test_a_year_of_daily_closes_gives_the_orders_of_the_rules_in_every_run(
    tmp_path: Path, sentiment: int
) -> None:
    with ONE_YEAR.open(newline="") as file:
        tape = [Tick("AAPL", Decimal(row["Close"])) for row in csv.DictReader(file)]
    assert len(tape) == DAYS
    gateway = {"path": str(ONE_YEAR), "symbol": "AAPL"}
    give_the_orders_of_the_rules(tmp_path, gateway, tape, sentiment)


# A signal that sleeps, and one beside it that does not. Each writes down what it sees.

TICKS = 5000
RING = 256
SIGNALS = """
import os, time

class Sees:
    sleep_s = 0.0

    def __init__(self, settings):
        name = os.path.join(os.path.dirname(__file__), settings.client_id)
        self.file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def on_tick(self, symbol, price, sentiment):
        os.write(self.file, b"%d\\n" % (price // 10**8))
        time.sleep(self.sleep_s)

class Sleeps(Sees):
    sleep_s = 0.001
"""


def seen(stack: PrivateStack, client_id: str) -> list[int]:
    """The ticks that a strategy has seen: the price of each is its number."""
    path = stack.directory / client_id
    return list(map(int, path.read_bytes().split())) if path.exists() else []


def missed(stack: PrivateStack, program: str) -> list[int]:
    """The ticks that a strategy says it has missed."""
    return [tick for first, last in stack.missed(program) for tick in range(first, last + 1)]


@pytest.fixture
def stack(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PrivateStack]:
    """A stack with a small ring, and no watchdog. The parameter: the signal of each strategy."""
    first, *others = request.param
    project = PROJECT_ROOT
    if others:
        add = partial(add_strategy_programs, names=["second"])
        project = copy_project(tmp_path / "project", add)
    settings: dict[str, dict[str, Any]] = {
        "": {"symbols": ["AAPL"]},
        "gateway": {"source": "file", "rate": 0.0},
        "price_book": {"ring_capacity": RING},
        "strategy": {"class": f"my_signals:{first}"},
        "watchdog": {"hang_after": 0.0},
    }
    for other in others:
        settings["strategies.second"] = {"class": f"my_signals:{other}"}
    with PrivateStack(settings, project=project) as stack:
        (stack.directory / "my_signals.py").write_text(SIGNALS)
        monkeypatch.setenv("PYTHONPATH", str(stack.directory))
        tape = stack.directory / "tape.csv"
        tape.write_text("symbol,price\n" + "".join(f"AAPL,{n + 1}.5\n" for n in range(TICKS)))
        stack.settings["gateway"]["path"] = str(tape)
        stack.write_config(stack.settings)
        stack.start()
        yield stack


@pytest.mark.parametrize("stack", [("Sleeps", "Sees")], indirect=True)
def test_a_slow_strategy_sets_the_pace_and_no_tick_is_missed(stack: PrivateStack) -> None:
    for client_id in ("strategy", "second"):
        wait_until(lambda c=client_id: seen(stack, c)[-1:] == [TICKS], f"{client_id} has seen all")
        assert seen(stack, client_id) == list(range(1, TICKS + 1))
    assert [missed(stack, role) for role in ("orderbook", "strategy", "second")] == [[], [], []]


@pytest.mark.parametrize("stack", [("Sees", "Sleeps")], indirect=True)
def test_a_strategy_that_is_frozen_is_waited_for_a_while_and_says_what_it_has_missed(
    stack: PrivateStack,
) -> None:
    wait_until(lambda: len(seen(stack, "strategy")) > RING, "it is under way")
    pid = stack.pid("strategy")
    os.kill(pid, signal.SIGSTOP)
    stopped_at = len(seen(stack, "strategy"))
    wait_until(lambda: len(seen(stack, "second")) > stopped_at + 4 * RING, "the other goes on")
    os.kill(pid, signal.SIGCONT)
    for client_id in ("strategy", "second"):
        wait_until(lambda c=client_id: seen(stack, c)[-1:] == [TICKS], f"{client_id} goes on")
    assert seen(stack, "second") == list(range(1, TICKS + 1))
    assert missed(stack, "second") == []
    lapped = missed(stack, "strategy")
    assert sorted(seen(stack, "strategy") + lapped) == list(range(1, TICKS + 1))
    assert stopped_at < lapped[0]
    # It is waited for again: what it has missed came while it was frozen.
    assert lapped == list(range(lapped[0], lapped[-1] + 1))
    assert lapped[-1] < TICKS - RING
    for role in ("gateway", "orderbook", "strategy", "second"):
        assert len(stack.events(role, "started")) == 1


@pytest.mark.parametrize("stack", [("Sleeps",)], indirect=True)
def test_a_strategy_that_is_killed_is_not_waited_for(stack: PrivateStack) -> None:
    wait_until(lambda: len(seen(stack, "strategy")) > RING, "it is under way")
    os.kill(stack.pid("strategy"), signal.SIGKILL)
    assert len(seen(stack, "strategy")) < TICKS
    wait_until(lambda: len(stack.events("strategy", "attached")) == 2, "it is back")
    # The tape has ended meanwhile: had the orderbook waited, its successor would be awaited, too.
    assert stack.events("strategy", "attached")[1]["sequence"] == TICKS
    with SharedPriceBook.attach(stack.book_name) as book:
        assert book.position == TICKS
    stack.wait_for_event("gateway", "tape_ended", ticks=TICKS)
