"""A tape from a file in a running stack: prepared once, played whatever happens afterwards."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lib.errors import EXIT_BAD_INPUT
from lib.ledger.reader import read_ledger
from lib.prices import to_float
from lib.stack.log_follower import MAX_VALUE_CHARACTERS
from lib.tapes.prepared import PRICES
from tests.clients import HOST, NumberedClient, joined
from tests.helpers import wait_until
from tests.stack import PrivateStack

SYMBOLS = ["AAPL", "MSFT"]
ROWS = 3000
FRAMES = [f"{SYMBOLS[n % 2]},{100 + n / 4:.2f}".encode() for n in range(ROWS)]
SETTINGS: dict[str, dict[str, Any]] = {
    "": {"symbols": SYMBOLS},
    "gateway": {"source": "file", "rate": 1000.0, "news_interval": 0.05},
}
SLOW = (
    "SELECT 'AAPL' AS symbol, (100 + n % 7)::DECIMAL(19, 8) AS price "
    "FROM range({rows}) rows(n) WHERE n % {every} = 0"
)
"""A tape of 100 ticks that takes seconds to prepare, and prices that need no file."""
ENDLESS = SLOW.format(rows=10**15, every=10**13)


def write_tape(path: Path, rows: int = ROWS) -> None:
    lines = (frame.decode() for frame in FRAMES[:rows])
    path.write_text("symbol,price\n" + "".join(f"{line}\n" for line in lines))


def play(stack: PrivateStack, **keys: Any) -> None:
    """Write the settings of a tape."""
    stack.write_config({**stack.settings, "gateway": {**stack.settings["gateway"], **keys}})


@pytest.fixture
def tape(stack: PrivateStack) -> Path:
    path = stack.directory / "tape.csv"
    write_tape(path)
    play(stack, path=str(path))
    return path


def prepared(stack: PrivateStack) -> list[str]:
    """What is in the store of prepared tapes, without the lock."""
    return sorted(entry.name for entry in (stack.var_dir / "tapes").iterdir())[:-1]


def kill(stack: PrivateStack, role: str) -> None:
    os.kill(stack.pid(role), signal.SIGKILL)


def state_of(stack: PrivateStack, program: str) -> str:
    return stack.supervisorctl("status", program).split()[1]


def test_a_killed_gateway_goes_on_with_what_was_prepared_though_the_file_is_gone(
    stack: PrivateStack, tape: Path
) -> None:
    stack.start()
    with joined(stack.price_port, 1) as client:
        frames = client.read_to(200)
        tape.unlink()
        kill(stack, "gateway")
        client.frames_until_the_end()
    continued = stack.wait_for_event("gateway", "tape_continued")
    assert continued["next_sequence"] > 200
    with joined(stack.price_port, len(frames) + 1) as client:
        frames += client.read_to(ROWS)
    assert frames == FRAMES
    stack.wait_for_event("gateway", "tape_ended", ticks=ROWS)
    # One preparation, one warning, and no incident because of the program that has ended.
    assert len(stack.events("tape", "started")) == 1
    assert [e["tapes"] for e in stack.events("tape", "preparing_ended")] == [1]
    changed = stack.events("gateway", "tape_source_changed")
    assert len(changed) == 1
    assert str(tape) in changed[0]["reason"]
    ended = {event["program"] for event in stack.events("watchdog", "role_ended")}
    assert ended == {"gateway"}
    assert state_of(stack, "tape") == "EXITED"
    assert stack.stop() == 0
    output = "\n".join(stack.said())
    assert "tape_recognised" in output
    assert "tape          | WARNING" not in output


def test_a_prepared_tape_that_is_cut_under_the_gateway_is_prepared_anew_and_goes_on(
    stack: PrivateStack, tape: Path
) -> None:
    stack.start()
    with joined(stack.price_port, 1) as client:
        frames = client.read_to(200)
        directory = next(name for name in prepared(stack) if name.startswith("file-"))
        os.truncate(stack.var_dir / "tapes" / directory / PRICES, 0)
        client.frames_until_the_end()
    stack.wait_for_event("gateway", "tape_continued")
    with joined(stack.price_port, len(frames) + 1) as client:
        frames += client.read_to(ROWS)
    assert frames == FRAMES
    assert len(stack.events("tape", "started")) == 2
    assert stack.events("gateway", "crashed") == []


def test_a_new_run_plays_the_file_as_it_is_then_and_an_unchanged_one_is_not_read_again(
    stack: PrivateStack, tape: Path
) -> None:
    def ends(ticks: int, count: int) -> bool:
        found = stack.events("gateway", "tape_ended")
        return [event["ticks"] for event in found] == [ROWS] * (count - 1) + [ticks]

    stack.start()
    wait_until(lambda: ends(ROWS, 1), "the tape has ended")
    stack.stop()
    stack.start()
    wait_until(lambda: ends(ROWS, 2), "it has ended a second time")
    stack.stop()
    assert len(stack.events("tape", "started")) == 1
    assert len(stack.events("gateway", "tape_recognised")) == 2
    write_tape(tape, 7)
    stack.start()
    wait_until(lambda: ends(7, 3), "the new tape has ended")
    assert len(stack.events("tape", "started")) == 2


def totals(stack: PrivateStack, prices: dict[str, float]) -> list[float]:
    """Orders filled and rejected, realised and open profit, by the ledger and the last prices."""
    with read_ledger(stack.var_dir / "orders.sqlite") as ledger:
        filled = [order.status == "FILLED" for order in ledger.orders()]
        held = list(ledger.positions())
    return [
        sum(filled),
        len(filled) - sum(filled),
        sum(to_float(one.realised_profit) for one in held),
        sum(one.position * prices[one.symbol] - to_float(one.cost) for one in held),
    ]


def test_the_end_of_the_tape_is_on_the_screen_with_the_orders_and_the_profit_of_the_run(
    stack: PrivateStack,
) -> None:
    random, path, news = Random(5), stack.directory / "year.csv", stack.directory / "news.csv"
    rows = [(SYMBOLS[day % 2], random.randint(14_000, 16_000) / 100) for day in range(251)]
    path.write_text("symbol,close\n" + "".join(f"{symbol},{price}\n" for symbol, price in rows))
    play(stack, path=str(path), rate=0.0, news_path=str(news))
    before = [0.0, 0.0, 0.0]
    for run, sentiment in enumerate((80, 20)):  # it buys, and sells what it has bought
        news.write_text(f"{sentiment}\n" * 1000)
        stack.start()
        *_, said = wait_until(
            lambda run=run: [line for line in stack.said() if "tape ended after" in line][run:],
            "the screen has the end of the tape",
        )
        figure = r"([+-]?[\d,]+(?:\.\d\d)?)"
        line = (
            rf"main\.py +\| tape ended after 251 ticks: since the start {figure} orders? filled, "
            rf"{figure} rejected, realised profit {figure}; open profit {figure}"
        )
        match = re.fullmatch(line, said)
        assert match, said
        found = [float(text.replace(",", "")) for text in match.groups()]
        now = totals(stack, dict(rows))
        assert now[0] > before[0]
        since = [total - earlier for total, earlier in zip(now, [*before, 0.0], strict=True)]
        assert found == pytest.approx(since, abs=0.006)
        before = now[:3]
        assert stack.stop() == 0


def test_the_first_tick_does_not_wait_for_a_strategy_that_no_program_starts(
    stack: PrivateStack, tape: Path
) -> None:
    stack.write_config({**stack.settings, "strategies.idle": {"short_window": 5}})
    stack.start()
    stack.wait_for_event("strategy", "evaluation_started", first_evaluated=1)
    assert stack.events("orderbook", "first_tick_not_awaited") == []


def test_a_file_that_is_no_tape_ends_main_with_one_whole_message(stack: PrivateStack) -> None:
    path = stack.directory / "tape.csv"
    path.write_text("".join(f"column {n}," for n in range(50)) + "\n1,2\n")
    play(stack, path=str(path))
    main = stack.start(wait=False)
    assert main.wait(timeout=60) == EXIT_BAD_INPUT
    [reason] = {event["reason"] for event in stack.events("gateway", "cannot_start")}
    assert str(path) in reason
    assert len(reason) > MAX_VALUE_CHARACTERS
    said = "\n".join(stack.said())
    assert said.count(reason) == 1
    assert said.splitlines()[-1].startswith("main.py: gateway does not start (one try, exit")
    # A gateway that is tried again does not have the file read again.
    assert len(stack.events("tape", "started")) == 1


def test_clients_wait_while_a_tape_is_prepared_and_the_stack_shows_it(
    stack: PrivateStack,
) -> None:
    play(stack, query=SLOW.format(rows=12 * 10**8, every=12 * 10**6))
    stack.start(wait=False)
    wait_until(lambda: stack.events("gateway", "listening")[1:], "the gateway listens")
    with NumberedClient.connect(stack.price_port) as client:
        wait_until(lambda: state_of(stack, "tape") == "RUNNING", "supervisorctl shows it")
        client.hello(1)  # answered once the tape is there
        assert stack.events("tape", "preparing_ended")
        assert [frame.partition(b",")[0] for frame in client.read_to(100)] == [b"AAPL"] * 100
    assert stack.events("gateway", "started")
    assert stack.events("watchdog", "role_hung") == []
    [progress, *_] = stack.events("tape", "tape_preparing")
    assert progress["kind"] == "ticks"
    stack.stop()
    assert "tape_preparing" in "\n".join(stack.said())


def test_a_stop_during_the_preparation_takes_no_time_and_leaves_nothing(
    stack: PrivateStack,
) -> None:
    play(stack, query=ENDLESS)
    stack.start(wait=False)
    wait_until(lambda: (stack.var_dir / "tapes" / ".preparing").exists(), "it is prepared")
    begun_s = time.monotonic()
    assert stack.stop() == 0
    assert time.monotonic() - begun_s < 20  # and not until the query is given up
    assert stack.events("tape", "stopped")
    assert stack.events("gateway", "stopped")
    assert prepared(stack) == []
    assert stack.processes() == []


def test_a_preparation_that_is_killed_is_tried_again_a_few_times(stack: PrivateStack) -> None:
    play(stack, query=ENDLESS)
    main = stack.start(wait=False)
    for tries in (1, 2, 3):
        wait_until(lambda n=tries: len(stack.events("tape", "started")) == n, "it is prepared")
        kill(stack, "tape")
    failed = [event["tries"] for event in stack.events("gateway", "preparing_failed")]
    assert failed[:2] == [1, 2]
    reason = stack.wait_for_event("gateway", "cannot_start")["reason"]
    assert "3 times" in reason
    main.terminate()
    main.wait(timeout=60)


def test_a_gateway_by_hand_prepares_in_a_child_that_dies_with_it(stack: PrivateStack) -> None:
    play(stack, query=ENDLESS)
    gateway = stack.start_by_hand("gateway")
    wait_until(lambda: (stack.var_dir / "tapes" / ".preparing").exists(), "it is prepared")
    with socket.create_connection((HOST, stack.price_port)):
        assert len(stack.processes()) == 2
        gateway.kill()
        gateway.wait()
    wait_until(lambda: stack.processes() == [], "its child has ended, too")
    # What it left is removed by the next one.
    path = stack.directory / "tape.csv"
    write_tape(path, 5)
    play(stack, query="", path=str(path))
    gateway = stack.start_by_hand("gateway")
    stack.wait_for_event("gateway", "tape_ended", ticks=5)
    assert len(prepared(stack)) == 2
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(timeout=60) == 0


def test_the_end_of_the_news_is_logged_and_their_signal_lapses(
    stack: PrivateStack, tape: Path
) -> None:
    news = stack.directory / "news.csv"
    news.write_text("sentiment\n80\n80\n")
    stack.write_config({**stack.settings, "strategy": {"news_timeout": 1.0}})
    play(stack, news_path=str(news))
    stack.start()
    ended = stack.wait_for_event("gateway", "news_ended")
    assert ended["sentiments"] == 2
    stack.wait_for_event("strategy", "news_silent")
    assert not stack.events("gateway", "tape_ended")
    assert not stack.events("strategy", "disconnected")  # the heartbeats go on
