"""The order manager is killed a hundred times, and no order is lost or doubled.

Three clients send numbered orders as fast as they are answered. Again and again an order manager
is started and killed at a random moment: most often after it has answered everybody, sometimes
while it starts. Afterwards the answers that each client got are compared with the ledger.
"""

from __future__ import annotations

import json
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from lib.ledger.schema import LedgerError, open_for_reading
from lib.prices import units_of
from tests.clients import HOST
from tests.helpers import DEADLINE_S, PROJECT_ROOT, wait_until
from tests.insistent_client import SYMBOLS, InsistentClient, Line
from tests.nursery import Nursery
from tests.order_managers import NO_LIMITS
from tests.stack import PrivateStack

SEED = 3
"""Of the orders and of the moments to kill, as far as those can be chosen."""
CLIENTS = ("ann", "bob", "cat")
BASE_PRICES = {client_id: 1000 * (1 + i) for i, client_id in enumerate(CLIENTS)}
"""A client is known by its prices: by whole thousands."""

MIN_KILLS = 120
MIN_OF_EACH_PHASE = 10
MAX_KILLS = 1000

EARLY_SHARE = 0.1
"""Of the kills: at a moment that is counted from the start of the process."""
EARLY_WITHIN_S = 0.04
KILL_WITHIN_S = 0.02
"""Of the moment when every client has had an answer."""
KILLS_AT_CREATION = 15
CREATION_S = 0.004
"""How long the creation of a ledger takes, more or less."""

UNCOMMITTED = "sent but uncommitted"
UNANSWERED = "committed but unanswered"
PHASES = (UNCOMMITTED, UNANSWERED)

ORDER_COLUMNS = (
    "client_id, order_id, symbol, side, quantity, price, status, reason, position, sent_ns"
)
PRINTED = re.compile(r"Received Order (\d+): (BUY|SELL) (\d+) (\w+) @ ([\d.]+)\n")
"""A whole line; a kill at once can cut one short."""


class Kills:
    """Starts and kills order managers, and lets the clients work meanwhile."""

    def __init__(self, stack: PrivateStack) -> None:
        self.ledger = stack.var_dir / "orders.sqlite"
        self.count = 0
        self.hits: Counter[str] = Counter()
        """Kills that have hit at least one order in this phase."""
        self.orders_hit: Counter[str] = Counter()
        self.stack = stack
        self._random = Random(SEED)
        self.clients = [
            InsistentClient(client_id, stack.order_port, base_price, self._random)
            for client_id, base_price in BASE_PRICES.items()
        ]
        self._booked = dict.fromkeys(CLIENTS, 0)
        """The last order_id that was in the ledger at the last kill."""
        self._nursery = Nursery(stack)
        self._readable: list[Nursery | Line] = []

    def go_on(self) -> None:
        """Kill until there is enough of everything."""
        while self.count < MIN_KILLS or any(
            self.hits[phase] < MIN_OF_EACH_PHASE for phase in PHASES
        ):
            assert self.count < MAX_KILLS, self.hits
            self._live_and_die()
            self.count += 1

    def end(self) -> None:
        """Let every order be answered; end the order manager as supervisord does."""
        for client in self.clients:
            client.stopping = True
        self._nursery.start()
        self._work_until(lambda: all(c.at_rest for c in self.clients), "all is answered")
        self._nursery.signal(signal.SIGTERM)
        assert self._nursery.answer() == "0"

    def close(self) -> None:
        self._nursery.close()
        for client in self.clients:
            client.close()

    def _live_and_die(self) -> None:
        random = self._random
        self._nursery.start()
        # The first one lives until there is a ledger to look into.
        if self.count and random.random() < EARLY_SHARE:
            delay_s = random.uniform(0, EARLY_WITHIN_S)
        else:
            self._work_until(
                lambda: all(client.line and client.line.report_count for client in self.clients),
                "every client has had an answer",
            )
            delay_s = random.uniform(0, KILL_WITHIN_S)
        self._nursery.signal(signal.SIGKILL, delay_s)
        self._work_until(lambda: self._nursery in self._readable, "it is killed")
        assert self._nursery.answer() == str(-signal.SIGKILL), self._last_words()
        # What it has sent is read before the connections end.
        self._work_until(lambda: not any(c.lines() for c in self.clients), "all connections end")
        self._look_into_the_ledger()

    def _look_into_the_ledger(self) -> None:
        hit: Counter[str] = Counter()
        with closing(open_for_reading(self.ledger)) as ledger:
            for client in self.clients:
                (last,) = ledger.execute(
                    "SELECT max(order_id) FROM orders WHERE client_id = ?", (client.client_id,)
                ).fetchone()
                booked = last or 0
                assert booked >= client.answered, "answered and not booked"
                assert booked >= self._booked[client.client_id], "booked no more"
                assert booked <= len(client.orders), "booked and never sent"
                self._booked[client.client_id] = booked
                hit[UNANSWERED] += booked - client.answered
                hit[UNCOMMITTED] += len(client.orders) - booked
        self.orders_hit += hit
        self.hits.update(phase for phase, orders in hit.items() if orders)

    def _work_until(self, condition: Callable[[], object], what: str) -> None:
        """Let the clients work."""
        give_up = time.monotonic() + DEADLINE_S
        self._readable = []
        while not condition():
            assert time.monotonic() < give_up, f"in vain until {what}: {self._last_words()}"
            for client in self.clients:
                client.connect()
            owners = {line: client for client in self.clients for line in client.lines()}
            self._readable, _, _ = select.select([self._nursery, *owners], [], [], 0.001)
            for line in self._readable:
                if isinstance(line, Line):
                    owners[line].on_readable(line)

    def _last_words(self) -> str:
        log = self.stack.log_dir / "order_manager.jsonl"
        return "\n".join(log.read_text().splitlines()[-5:]) if log.exists() else "no log"


@pytest.fixture(scope="module")
def kills() -> Iterator[Kills]:
    """What has been through it all."""
    settings = {
        "": {"symbols": SYMBOLS},
        "order_manager": {"order_ttl": 3600.0},
        "risk": NO_LIMITS,
    }
    with ExitStack() as clean_up:
        stack = clean_up.enter_context(PrivateStack(settings))
        # Between two processes the port is free; meanwhile no other program may take it.
        reservation = clean_up.enter_context(socket.socket())
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind((HOST, stack.order_port))
        kills = Kills(stack)
        clean_up.callback(kills.close)
        kills.go_on()
        kills.end()
        yield kills


Booked = dict[str, dict[int, int | None]]
"""The trade_id of every order in the ledger, by client_id and order_id; None if rejected."""


@pytest.fixture(scope="module")
def booked(kills: Kills) -> Booked:
    booked: Booked = {client_id: {} for client_id in CLIENTS}
    with closing(open_for_reading(kills.ledger)) as ledger:
        for client_id, order_id, trade_id in ledger.execute(
            "SELECT client_id, order_id, trade_id FROM orders"
        ):
            assert order_id not in booked[client_id], "booked twice"
            booked[client_id][order_id] = trade_id
    return booked


def test_enough_kills_have_hit_orders_in_every_phase(
    kills: Kills, booked: Booked, capsys: pytest.CaptureFixture[str]
) -> None:
    fills = sum(trade_id is not None for orders in booked.values() for trade_id in orders.values())
    with capsys.disabled():
        print(f"\n{kills.count} kills of the order manager (seed {SEED})")
        for phase in PHASES:
            print(f"  {kills.hits[phase]:>5} hit {kills.orders_hit[phase]:,} orders {phase}")
        print(
            f"  {sum(map(len, booked.values())):,} orders booked, {fills:,} of them filled;",
            f"{sum(client.repeated for client in kills.clients):,} answers given again;",
            f"{sum(client.restarts for client in kills.clients)} restarts of clients, which forgot",
            f"{sum(client.forgotten for client in kills.clients):,} orders that were never booked",
        )
    assert kills.count >= MIN_KILLS
    assert min(kills.hits[phase] for phase in PHASES) >= MIN_OF_EACH_PHASE


def test_every_order_that_a_client_stands_by_is_booked_once_as_it_was_sent(
    kills: Kills,
) -> None:
    with closing(open_for_reading(kills.ledger)) as ledger:
        for client in kills.clients:
            rows = ledger.execute(
                f"SELECT {ORDER_COLUMNS} FROM orders WHERE client_id = ? ORDER BY order_id",
                (client.client_id,),
            )
            for order, row in zip(client.orders, rows, strict=True):
                assert row == (
                    order.client_id, order.order_id, order.symbol, order.side, order.quantity,
                    order.price, order.status, order.reason, order.position_after, order.sent_ns,
                )  # fmt: skip


def test_every_answer_to_a_client_is_in_the_ledger(kills: Kills, booked: Booked) -> None:
    for client in kills.clients:
        for order_id, answer in client.first_answers.items():
            # The answer to the order itself was compared when it came.
            assert answer.order == client.orders[order_id - 1]
            assert answer.trade_id == booked[client.client_id][order_id]


def test_trade_ids_count_all_fills_from_1(kills: Kills, booked: Booked) -> None:
    trade_ids = [number for orders in booked.values() for number in orders.values() if number]
    assert sorted(trade_ids) == list(range(1, len(trade_ids) + 1))


def test_positions_and_profit_are_those_of_the_fills(kills: Kills) -> None:
    held = {}
    paid: Counter[tuple[str, str]] = Counter()  # in units of 1e-8
    for client in kills.clients:
        for order in client.orders:
            paid[client.client_id, order.symbol] += order.signed_quantity * units_of(order.price)
        for symbol, position in zip(SYMBOLS, client.orders[-1].held, strict=True):
            held[client.client_id, symbol] = position
    with closing(open_for_reading(kills.ledger)) as ledger:
        rows = ledger.execute(
            "SELECT client_id, symbol, position, cost, realised_profit FROM positions"
        ).fetchall()
    assert {(client_id, symbol): position for client_id, symbol, position, *_ in rows} == held
    for client_id, symbol, _, cost, realised_profit in rows:
        # How it is divided between the two is compared by the check below, fill by fill.
        assert units_of(cost) - units_of(realised_profit) == paid[client_id, symbol]


def test_a_fill_is_printed_at_most_once(kills: Kills) -> None:
    printed = PRINTED.findall((kills.stack.log_dir / "order_manager.out").read_text())
    assert len(printed) == len(set(printed))
    fills = {
        (str(order.order_id), order.side, str(order.quantity), order.symbol, order.price)
        for client in kills.clients
        for order in client.orders
        if order.status == "FILLED"
    }
    assert set(printed) <= fills


def test_no_kill_is_a_reason_for_an_error(kills: Kills) -> None:
    log = (kills.stack.log_dir / "order_manager.jsonl").read_text()
    assert '"event":"order' in log
    assert not re.findall('.*"level":"(?:error|critical)".*', log)


def test_the_check_of_the_ledger_finds_every_fill_and_no_difference(kills: Kills) -> None:
    now = datetime.now(UTC).isoformat()
    fills = [
        {
            "timestamp": now, "level": "info", "role": "strategy", "event": "order_filled",
            "client_id": answer.order.client_id,
            "order_id": answer.order.order_id, "symbol": answer.order.symbol,
            "side": answer.order.side,
            "trade_id": answer.trade_id, "position": answer.order.position_after,
        }
        for client in kills.clients for answer in client.first_answers.values()
        if answer.order.status == "FILLED"
    ]  # fmt: skip
    with (kills.stack.log_dir / "strategy.jsonl").open("w") as log:
        log.writelines(f"{json.dumps(fill)}\n" for fill in fills)
    checked = subprocess.run(
        [sys.executable, "-m", "lib.ledger", "--check"],
        cwd=PROJECT_ROOT,
        env=kills.stack.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(fills):,} fills in the strategies' logs are in the ledger" in checked.stdout


def test_a_ledger_that_was_not_created_to_the_end_is_created_by_the_next_order_manager(
    stack: PrivateStack,
) -> None:
    random = Random(SEED)
    nursery = Nursery(stack)
    ledger = stack.var_dir / "orders.sqlite"
    try:
        for _ in range(KILLS_AT_CREATION):
            for path in stack.var_dir.glob("orders.sqlite*"):
                path.unlink()
            nursery.start()
            give_up = time.monotonic() + DEADLINE_S
            while not ledger.exists():  # creation takes a few milliseconds: no time to sleep
                assert time.monotonic() < give_up
            nursery.signal(signal.SIGKILL, random.uniform(0, CREATION_S))
            assert nursery.answer() == str(-signal.SIGKILL)
            nursery.start()
            wait_until(lambda: is_whole(ledger), "there is a ledger")
            nursery.signal(signal.SIGKILL)
            assert nursery.answer() == str(-signal.SIGKILL)
    finally:
        nursery.close()


def is_whole(ledger: Path) -> bool:
    try:
        with closing(open_for_reading(ledger)) as connection:
            return connection.execute("SELECT count(*) FROM facts").fetchone() == (1,)
    except LedgerError:
        return False
