"""Files of a running stack that vanish from /dev/shm: said once, made anew, no blind trade."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from lib.price_book.segment_files import SHM_DIR
from tests.clients import OrderClient, order
from tests.helpers import wait_until
from tests.stack import PrivateStack

SETTINGS = {"gateway": {"rate": 500.0, "news_interval": 0.1}}
PLAIN_READER = (
    "import sys; from multiprocessing import shared_memory;"
    "shared_memory.SharedMemory(name=sys.argv[1]).close()"
)
"""Of the standard library alone: its resource tracker removes the segment when it ends."""


def remove_files(stack: PrivateStack) -> None:
    """Do what systemd does when the user logs out."""
    for name in stack.segments():
        (SHM_DIR / name).unlink()


def read_plainly(stack: PrivateStack) -> None:
    subprocess.run([sys.executable, "-c", PLAIN_READER, stack.book_name], check=True, timeout=60)


def remove(end: str) -> Callable[[PrivateStack], None]:
    def remove_one(stack: PrivateStack) -> None:
        Path(SHM_DIR, f"{stack.book_name}{end}").unlink()

    return remove_one


def counts(stack: PrivateStack, *events: tuple[str, str]) -> list[int]:
    return [len(stack.events(role, event)) for role, event in events]


def wait_for_trades(stack: PrivateStack) -> None:
    enough = len(stack.output("order_manager")) + 2
    wait_until(lambda: len(stack.output("order_manager")) >= enough, "two orders are filled")


def incidents(stack: PrivateStack) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.dashboard_port}/view") as view:
        return [f"{one['where']}: {one['what']}" for one in json.load(view)["incidents"]]


def test_what_vanishes_is_said_and_made_anew_and_the_stack_trades_on(stack: PrivateStack) -> None:
    stack.start()
    wait_for_trades(stack)
    lost, attached = ("orderbook", "price_book_lost"), ("strategy", "attached")
    for number, (vanish, is_new_segment) in enumerate(
        [(remove_files, True), (read_plainly, True), (remove(".lock"), False)], 1
    ):
        before = counts(stack, attached)
        vanish(stack)
        wait_until(lambda n=number: counts(stack, lost) == [n], "the orderbook has said it")
        wait_until(
            lambda b=before, new=is_new_segment: counts(stack, attached) == [b[0] + new],
            "the strategy has moved on",
        )
        wait_for_trades(stack)
    remove(".keeper")(stack)
    wait_until(lambda: f"{stack.book_name}.keeper" in stack.segments(), "its lock is back")
    renewed, said = counts(stack, ("strategy", "wake_up_lost"), ("strategy", "no_price_book"))
    remove(".reader-00")(stack)
    wait_until(lambda: counts(stack, ("strategy", "wake_up_lost")) == [renewed + 1], "it is said")
    wait_for_trades(stack)
    assert counts(stack, lost) == [3]
    # Each gap is known by number.
    assert stack.missed("strategy") == stack.absences()

    # Without an orderbook the others notice it, and nothing is filled without the collar.
    stack.supervisorctl("stop", "orderbook")
    before = counts(stack, attached)
    remove_files(stack)
    wait_until(lambda: counts(stack, ("strategy", "no_price_book")) == [said + 1], "it is said")
    assert "was removed" in stack.events("strategy", "price_book_lost")[-1]["reason"]
    wait_until(
        lambda: any(one.startswith("strategy: has no price book") for one in incidents(stack)),
        "the dashboard shows it",
    )
    with OrderClient.connect(stack.order_port) as client:
        answer = client.ask(order(1, price=100_000))
        assert answer["status"] == "REJECTED"
        assert answer["reason"] == "no price to compare with: there is no price book"
        stack.supervisorctl("start", "orderbook")
        wait_until(lambda: counts(stack, attached) == [before[0] + 1], "the strategy is back")
        assert "from the latest" in client.ask(order(2, price=100_000))["reason"]
    wait_for_trades(stack)
    assert counts(stack, ("strategy", "no_price_book")) == [said + 1]
    assert stack.stop() == 0
    wait_until(lambda: stack.segments() == [], "nothing is left")
