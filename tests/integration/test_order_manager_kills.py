"""The order manager is killed again and again, and no order is lost or doubled.

Three clients send numbered orders as fast as they are answered, and send those without an answer
again after a reconnection. An order manager is started and killed at a random moment: most often
after it has answered everybody, sometimes while it starts. Afterwards the answers that each client
got are compared with the ledger.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from lib.ledger.schema import LedgerError, open_for_reading
from lib.process.run_identity import SUPERVISED_VARIABLE
from tests.clients import HOST
from tests.helpers import DEADLINE_S, PROJECT_ROOT, wait_until
from tests.order_managers import NO_LIMITS, run_order_manager
from tests.stack import PrivateStack

SEED = 3
"""Of the orders and of the moments to kill, as far as those can be chosen."""
SYMBOLS = ("AAPL", "MSFT", "GOOG")
BASE_PRICES = {"ann": 1000, "bob": 2000, "cat": 3000}
"""A client is known by its prices: by whole thousands."""
UNKNOWN_SHARE = 0.05
"""Of the orders: of a symbol that there is not, so that they are rejected."""
MAX_WINDOW = 150
"""The most unanswered orders; the actual limit differs from connection to connection."""
MAX_REPEATED = 20
"""The most answered orders that are sent again after a reconnection."""

MIN_KILLS = 60
MIN_OF_EACH_PHASE = 5
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

PRINTED = re.compile(r"Received (Order \d+: \w+ \d+ \w+ @ [\d.]+)\n")
"""A whole line; a kill at once can cut one short."""

# An interpreter takes a third of a second to start and to import: fork one that has done it.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", "tests.order_managers"])


def start(stack: PrivateStack) -> ForkServerProcess:
    """Start the order manager, which ends with the fork server and so with the test."""
    stack.log_dir.mkdir(parents=True, exist_ok=True)
    environment = {**stack.environment, SUPERVISED_VARIABLE: "1"}
    process = FORKS.Process(
        target=run_order_manager, args=(stack.log_dir, environment), daemon=True
    )
    process.start()
    return process


def kill(process: ForkServerProcess) -> None:
    process.kill()
    process.join(DEADLINE_S)
    assert process.exitcode == -signal.SIGKILL


class Sent(NamedTuple):
    """An order that was sent, and what has to come of it."""

    order: dict[str, Any]
    report: dict[str, Any]
    """The execution report without its trade_id."""
    held: dict[str, int]
    """The positions after it."""

    @property
    def printed(self) -> str:
        order = self.order
        what = f"{order['side']} {order['quantity']} {order['symbol']} @ {order['price']:.2f}"
        return f"Order {order['order_id']}: {what}"


class Client:
    """Handles its socket when it is ready, and never blocks."""

    def __init__(self, client_id: str, port: int, random: Random) -> None:
        self.client_id = client_id
        self.sent: list[Sent] = []
        """By order_id from 1 on."""
        self.reports: list[dict[str, Any]] = []
        """The first answer to each order."""
        self.repeated = 0
        self.answered_here = 0
        """Reports that came on this connection; 0 while there is none."""
        self.stopping = False
        """Whether to send no new orders."""
        self.sock: socket.socket | None = None
        self._port = port
        self._random = random
        self._awaited: deque[Sent] = deque()
        self._tail = b""
        self._window = 0

    @property
    def at_rest(self) -> bool:
        """Whether all that it has sent is answered."""
        return bool(self._window) and not self._awaited

    def connect(self) -> None:
        """Connect if there is no connection and the server listens."""
        if self.sock is None:
            with suppress(ConnectionError):
                self.sock = socket.create_connection((HOST, self._port), DEADLINE_S)
                self._tail, self._window = b"", 0
                self._awaited.clear()
                self._send({"type": "logon", "client_id": self.client_id})

    def on_readable(self) -> None:
        """Handle what has arrived, and send the orders that may be sent then."""
        assert self.sock
        data = b""
        with suppress(ConnectionResetError):
            data = self.sock.recv(1 << 20)
        if not data:
            self.sock.close()
            self.sock, self.answered_here = None, 0
            return
        *frames, self._tail = (self._tail + data).split(b"*")
        for message in map(json.loads, frames):
            if self._window:
                self._take_report(message)
            else:
                self._take_ack(message)
        if self._window and not self.stopping:
            free = self._window - len(self.sent) + len(self.reports)
            self._send_orders([self._decide() for _ in range(free)])

    def _take_ack(self, ack: dict[str, Any]) -> None:
        assert ack["type"] == "logon_ack", ack
        booked = ack["last_order_id"]
        assert len(self.reports) <= booked <= len(self.sent)
        held = self.sent[booked - 1].held if booked else {}
        assert ack["positions"] == {symbol: count for symbol, count in held.items() if count}
        self._window = self._random.randint(1, MAX_WINDOW)
        first = max(0, len(self.reports) - self._random.randint(0, MAX_REPEATED))
        self._send_orders(self.sent[first:])

    def _take_report(self, report: dict[str, Any]) -> None:
        sent = self._awaited.popleft()
        assert report == {**sent.report, **{k: v for k, v in report.items() if k == "trade_id"}}
        assert ("trade_id" in report) == (sent.report["status"] == "FILLED")
        order_id = sent.order["order_id"]
        if order_id > len(self.reports):
            self.reports.append(report)
        else:
            assert report == self.reports[order_id - 1]
            self.repeated += 1
        self.answered_here += 1

    def _decide(self) -> Sent:
        """A new order."""
        random = self._random
        order_id = len(self.sent) + 1
        held = dict(self.sent[-1].held if self.sent else dict.fromkeys(SYMBOLS, 0))
        symbol = "NONE" if random.random() < UNKNOWN_SHARE else random.choice(SYMBOLS)
        before = held.get(symbol, 0)
        order = {
            "order_id": order_id, "symbol": symbol, "side": random.choice(("BUY", "SELL")),
            "quantity": random.randint(1, 1000),
            # Never in whole dollars, so that the text is the same everywhere.
            "price": BASE_PRICES[self.client_id] + random.randrange(1000) + 0.25,
        }  # fmt: skip
        report = {"type": "execution_report", "client_id": self.client_id, **order}
        if symbol in SYMBOLS:
            outcome = {"status": "FILLED"}
            held[symbol] += order["quantity"] if order["side"] == "BUY" else -order["quantity"]
        else:
            outcome = {"status": "REJECTED", "reason": f"unknown symbol {symbol}"}
        more = {"type": "order", "position": before, "sent_ns": time.monotonic_ns()}
        report |= {**outcome, "position": held.get(symbol, 0)}
        self.sent.append(Sent(order | more, report, held))
        return self.sent[-1]

    def _send_orders(self, orders: list[Sent]) -> None:
        self._awaited += orders
        self._send(*(sent.order for sent in orders))

    def _send(self, *messages: dict[str, Any]) -> None:
        assert self.sock
        with suppress(BrokenPipeError, ConnectionResetError):  # on_readable() will see it
            self.sock.sendall(b"".join(json.dumps(one).encode() + b"*" for one in messages))


class Kills:
    """Starts and kills order managers, and lets the clients work meanwhile."""

    def __init__(self, stack: PrivateStack) -> None:
        self.stack = stack
        self.ledger = stack.var_dir / "orders.sqlite"
        self.count = 0
        self.hits: Counter[str] = Counter()
        """Kills that have hit at least one order in this phase."""
        self._random = Random(SEED)
        self.clients = [Client(one, stack.order_port, self._random) for one in BASE_PRICES]
        self._booked = dict.fromkeys(BASE_PRICES, 0)
        """The last order_id that was in the ledger at the last kill."""

    def go_on(self) -> None:
        """Kill until there is enough of everything, and let every order be answered."""
        while self.count < MIN_KILLS or any(
            self.hits[phase] < MIN_OF_EACH_PHASE for phase in PHASES
        ):
            assert self.count < MAX_KILLS, self.hits
            self._live_and_die()
            self.count += 1
        for client in self.clients:
            client.stopping = True
        process = start(self.stack)
        self._work_until(lambda: all(c.at_rest for c in self.clients), "all is answered")
        process.terminate()
        process.join(DEADLINE_S)
        assert process.exitcode == 0

    def _live_and_die(self) -> None:
        random = self._random
        process = start(self.stack)
        # The first one lives until there is a ledger to look into.
        if self.count and random.random() < EARLY_SHARE:
            delay_s = random.uniform(0, EARLY_WITHIN_S)
        else:
            self._work_until(
                lambda: all(client.answered_here for client in self.clients),
                "every client has had an answer",
            )
            delay_s = random.uniform(0, KILL_WITHIN_S)
        kill_s = time.monotonic() + delay_s
        self._work_until(lambda: time.monotonic() >= kill_s, "it is time")
        kill(process)
        # What it has sent is read before the connections end.
        self._work_until(lambda: not any(c.sock for c in self.clients), "all end", connect=False)
        self._look_into_the_ledger()

    def _look_into_the_ledger(self) -> None:
        hit: Counter[str] = Counter()
        with closing(open_for_reading(self.ledger)) as ledger:
            booked_of = dict(
                ledger.execute("SELECT client_id, max(order_id) FROM orders GROUP BY client_id")
            )
        for client in self.clients:
            booked = booked_of.get(client.client_id, 0)
            assert booked >= len(client.reports), "answered and not booked"
            assert booked >= self._booked[client.client_id], "booked no more"
            assert booked <= len(client.sent), "booked and never sent"
            self._booked[client.client_id] = booked
            hit[UNANSWERED] += booked - len(client.reports)
            hit[UNCOMMITTED] += len(client.sent) - booked
        self.hits.update(phase for phase, orders in hit.items() if orders)

    def _work_until(
        self, condition: Callable[[], object], what: str, *, connect: bool = True
    ) -> None:
        """Let the clients work."""
        give_up = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < give_up, f"in vain until {what}"
            if connect:
                for client in self.clients:
                    client.connect()
            owners = {client.sock: client for client in self.clients if client.sock}
            for sock in wait(list(owners), 0.001):
                owners[sock].on_readable()


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
        kills.go_on()
        yield kills
        for client in kills.clients:
            if client.sock:
                client.sock.close()


def test_every_order_is_booked_once_as_it_was_sent_and_answered(
    kills: Kills, capsys: pytest.CaptureFixture[str]
) -> None:
    trade_ids = []
    with closing(open_for_reading(kills.ledger)) as ledger:
        for client in kills.clients:
            rows = ledger.execute(
                "SELECT order_id, symbol, side, quantity, price, status, reason, trade_id,"
                " position, sent_ns FROM orders WHERE client_id = ? ORDER BY order_id",
                (client.client_id,),
            )
            for sent, report, row in zip(client.sent, client.reports, rows, strict=True):
                order = sent.order
                assert row == (
                    order["order_id"], order["symbol"], order["side"], order["quantity"],
                    str(order["price"]), report["status"], report.get("reason"),
                    report.get("trade_id"), report["position"], order["sent_ns"],
                )  # fmt: skip
            trade_ids += [one["trade_id"] for one in client.reports if "trade_id" in one]
        positions = ledger.execute("SELECT client_id, symbol, position FROM positions").fetchall()
    assert sorted(trade_ids) == list(range(1, len(trade_ids) + 1))
    assert {(one, symbol): position for one, symbol, position in positions} == {
        (client.client_id, symbol): position
        for client in kills.clients
        for symbol, position in client.sent[-1].held.items()
    }
    with capsys.disabled():
        repeated = sum(client.repeated for client in kills.clients)
        print(f"\n{kills.count} kills of the order manager (seed {SEED}): {dict(kills.hits)};")
        print(f"{len(trade_ids):,} orders filled, {repeated:,} answers given again")


def test_a_fill_is_printed_at_most_once(kills: Kills) -> None:
    printed = PRINTED.findall((kills.stack.log_dir / "order_manager.out").read_text())
    assert len(printed) == len(set(printed))
    filled = [
        client.sent[report["order_id"] - 1]
        for client in kills.clients
        for report in client.reports
        if "trade_id" in report
    ]
    assert set(printed) <= {sent.printed for sent in filled}


def test_no_kill_is_a_reason_for_an_error_and_the_check_finds_no_difference(kills: Kills) -> None:
    log = (kills.stack.log_dir / "order_manager.jsonl").read_text()
    assert '"event":"order' in log
    assert not re.findall('.*"level":"(?:error|critical)".*', log)
    checked = subprocess.run(
        [sys.executable, "-m", "lib.ledger", "--check"],
        cwd=PROJECT_ROOT, env=kills.stack.environment,
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_ledger_that_was_not_created_to_the_end_is_created_by_the_next_order_manager(
    stack: PrivateStack,
) -> None:
    random = Random(SEED)
    ledger = stack.var_dir / "orders.sqlite"
    for _ in range(KILLS_AT_CREATION):
        for path in stack.var_dir.glob("orders.sqlite*"):
            path.unlink()
        process = start(stack)
        give_up = time.monotonic() + DEADLINE_S
        while not ledger.exists():  # creation takes a few milliseconds: no time to sleep
            assert time.monotonic() < give_up
        time.sleep(random.uniform(0, CREATION_S))
        kill(process)
        process = start(stack)
        wait_until(lambda: is_whole(ledger), "there is a ledger")
        kill(process)


def is_whole(ledger: Path) -> bool:
    try:
        with closing(open_for_reading(ledger)) as connection:
            return connection.execute("SELECT count(*) FROM facts").fetchone() == (1,)
    except LedgerError:
        return False
