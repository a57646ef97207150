"""What must hold of a stack while others send it anything: it lives, serves, trades and is flat."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import NamedTuple

from lib.process.log_events import read_line
from lib.process.run_identity import process_stat
from lib.process.supervisor import Supervisor
from lib.stack.log_follower import FileFollower
from tests.clients import HOST, OrderClient, joined, order
from tests.fuzz.inputs import HTTP, NEWS, ORDERS, PRICE
from tests.helpers import wait_until
from tests.log_lines import is_as_defined
from tests.stack import ROLES, PrivateStack

GROWTH_RATIO = 1.3
"""How much more memory than after the warm-up a role may have in the end."""
GROWTH_BYTES = 16 << 20
"""Growth below this is none: a table or a buffer that has found its size."""
LOG_BYTES_AN_INPUT = 100
"""How much all logs may grow for each input. Every fill of a valid order has its line."""
LOG_BYTES_A_SECOND = 20_000
"""How much they grow by the time."""
ANSWER_S = 30.0
"""How long supervisord may take to answer: all cores are busy."""
SETTLE_S = 30.0
"""How long the descriptors of clients that are gone may stay open."""
LOOK_S = 0.2
MOST_NAMED = 3
"""How many lines that do not decode are shown."""

_order_ids = count(1)


class Vitals(NamedTuple):
    """The processes of a stack at one moment, by role."""

    pids: dict[str, int]
    resident: dict[str, int]
    descriptors: dict[str, int]
    log_bytes: int
    at_s: float


def look(stack: PrivateStack) -> Vitals:
    """Look at all roles."""
    processes = Supervisor(stack.var_dir / "supervisor.sock", ANSWER_S).processes()
    pids = {one.program: one.pid for one in processes}
    assert pids.keys() >= set(ROLES), pids
    resident, descriptors = {}, {}
    for role, pid in pids.items():
        with suppress(ProcessLookupError, FileNotFoundError):  # it has just died
            resident[role] = process_stat(pid).resident_bytes
            descriptors[role] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    log_bytes = sum(path.stat().st_size for path in stack.log_dir.iterdir())
    return Vitals(pids, resident, descriptors, log_bytes, time.monotonic())


def serve_others(stack: PrivateStack) -> dict[str, float]:
    """Be a valid client of each port; return how long each took, s. Raises what a test would."""
    return {port: _took(port, stack) for port in (PRICE, NEWS, ORDERS, HTTP)}


def _took(port: str, stack: PrivateStack) -> float:
    begun_s = time.monotonic()
    if port in (PRICE, NEWS):
        with joined(stack.price_port if port == PRICE else stack.news_port) as client:
            client.batch()
    elif port == ORDERS:
        with OrderClient.connect(stack.order_port) as client:
            # At the market and within the limits, or far from them: either way it is answered.
            answer = client.ask(order(next(_order_ids), quantity=1))
            assert answer["type"] == "execution_report", answer
    else:
        connection = HTTPConnection(HOST, stack.dashboard_port, timeout=60)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200, response.status
        assert b"tradewire" in response.read()
        connection.close()
    return time.monotonic() - begun_s


class Fills:
    """Counts the orders that are reported to the strategy as filled."""

    def __init__(self, stack: PrivateStack) -> None:
        self._log = FileFollower(stack.log_dir / "strategy.jsonl", from_end=False)
        self.count = 0

    def wait_for_more(self) -> None:
        """Wait until the strategy has traded on since the last call."""
        wait_until(self._read, "the strategy trades on")

    def _read(self) -> int:
        more = sum(
            b'"event":"order_filled"' in line.replace(b" ", b"") for line in self._log.read()
        )
        self.count += more
        return more


def growth(stack: PrivateStack, warm: Vitals, inputs: int) -> list[str]:
    """Say what has grown since the warm-up, in which so many inputs came, a line each."""
    now = look(stack)
    found = []
    for role, before in warm.resident.items():
        after = now.resident.get(role, 0)
        if after > before * GROWTH_RATIO and after > before + GROWTH_BYTES:
            found.append(f"{role} has grown from {before >> 20} to {after >> 20} MB")
    most = inputs * LOG_BYTES_AN_INPUT + (now.at_s - warm.at_s) * LOG_BYTES_A_SECOND
    if (logged := now.log_bytes - warm.log_bytes) > most:
        found.append(f"the logs have grown by {logged:,} bytes for {inputs:,} inputs")
    return found


def kept_descriptors(stack: PrivateStack, before: Vitals) -> list[str]:
    """Say which roles keep more descriptors open than before, for too long, a line each."""
    give_up_s = time.monotonic() + SETTLE_S
    while True:
        now = look(stack).descriptors  # without those of a role that has just died
        more = {r: count for r, count in before.descriptors.items() if now.get(r, 0) > count}
        if not more or time.monotonic() > give_up_s:
            return [
                f"{role} had {count} descriptors open, and has {now[role]}"
                for role, count in more.items()
            ]
        time.sleep(LOOK_S)


def deaths(before: Vitals, now: Vitals) -> list[str]:
    """Say which roles have ended, a line each."""
    return [
        f"{role} has died: its process is {now.pids[role] or 'gone'}, it was {pid}"
        for role, pid in before.pids.items()
        if now.pids[role] != pid
    ]


def lines_that_do_not_decode(stack: PrivateStack) -> list[str]:
    """Say which lines of the logs are no events as they are defined."""
    bad = [raw for raw in _lines(stack.log_dir) if read_line(raw) is None or not is_as_defined(raw)]
    named = [f"not an event as defined: {raw[:200]!r}" for raw in bad[:MOST_NAMED]]
    return named + ([f"and {len(bad) - MOST_NAMED} more"] if len(bad) > MOST_NAMED else [])


def _lines(log_dir: Path) -> Iterator[bytes]:
    for path in log_dir.glob("*.jsonl*"):
        with suppress(FileNotFoundError), path.open("rb") as file:  # it may be rotated meanwhile
            yield from (line.rstrip(b"\n") for line in file if line.endswith(b"\n"))
