"""A feed of the user's own: the recipe in docs/extending.md, word for word."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager

import pytest

from lib.shared_memory_utils import SharedPriceBook
from lib.stack.private_stack import comes_to_listen
from lib.stack.supervisord_configuration import configuration_text, started_programs
from tests.helpers import PROJECT_ROOT, wait_until
from tests.stack import ROLES, PrivateStack, copy_project


def recipe() -> str:
    """The program in docs/extending.md."""
    page = (PROJECT_ROOT / "docs" / "extending.md").read_text()
    (program,) = re.findall(r"```python\n(# my_feed\.py\n.*?)```", page, re.DOTALL)
    return program


@contextmanager
def feed_running(stack: PrivateStack) -> Iterator[None]:
    """The recipe on the ports of this stack."""
    program = recipe()
    for port, private in (("5001", stack.price_port), ("5002", stack.news_port)):
        assert program.count(port) == 1
        program = program.replace(port, str(private))
    feed = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        feed.kill()
        feed.wait()


def listens(port: int) -> bool:
    """Whether a server listens on this port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def without_gateway(configuration: RawConfigParser) -> None:
    """Have supervisord leave the gateway alone, as the recipe says."""
    configuration["program:gateway"]["autostart"] = "false"
    started = started_programs(configuration_text(configuration))
    assert started.keys() == {*ROLES} - {"gateway"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Iterator[PrivateStack]:
    """A stack of a clone of the project, in which the gateway is not started."""
    project = copy_project(tmp_path_factory.mktemp("clone") / "project", without_gateway)
    with PrivateStack(project=project) as stack:
        yield stack


def test_the_stack_trades_on_a_feed_that_has_the_ports_of_a_gateway_not_started(
    clone: PrivateStack,
) -> None:
    with feed_running(clone):
        wait_until(lambda: listens(clone.price_port) and listens(clone.news_port), "it listens")
        main = clone.start(wait=False)
        assert comes_to_listen(clone.var_dir, main), (clone.directory / "main.out").read_text()
        clone.wait_for_event("orderbook", "connected", stream="price", tape=None)
        order = clone.wait_for_event("strategy", "order_sent")
        with SharedPriceBook.attach(clone.book_name) as book:
            assert 100 < book.read("AAPL") < 300
        wait_until(lambda: clone.output("order_manager"), "the order is printed")
        assert clone.output("order_manager")[0].startswith("Received Order 1: ")
        assert order["symbol"] in ("AAPL", "MSFT")
        assert "STOPPED" in clone.supervisorctl("status", "gateway")
        for role in ("orderbook", "strategy"):
            for event in ("malformed_frames", "unknown_symbols", "no_delimiter"):
                assert clone.events(role, event) == []
        assert clone.stop() == 0


def test_a_further_run_in_the_same_directory_evaluates_the_feed_from_its_first_tick(
    clone: PrivateStack,
) -> None:
    with feed_running(clone):
        for run in (1, 2):
            wait_until(lambda: listens(clone.price_port) and listens(clone.news_port), "it listens")
            orders = len(clone.events("strategy", "order_sent"))
            starts = len(clone.events("strategy", "evaluation_started"))
            clone.start(wait=False)

            def is_trading(before: int = orders) -> bool:
                return len(clone.events("strategy", "order_sent")) > before

            wait_until(is_trading, f"run {run} trades")
            started = clone.events("strategy", "evaluation_started")[starts]
            assert (started["tape"], started["last_evaluated"]) == ("", 0)
            assert clone.stop() == 0
    assert clone.events("strategy", "ticks_missed") == []
