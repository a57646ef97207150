"""A feed of the user's own: the recipe in docs/extending.md, word for word."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from pathlib import Path

from lib.shared_memory_utils import SharedPriceBook
from lib.stack.private_stack import comes_to_listen
from lib.stack.supervisord_configuration import configuration_text, started_programs
from tests.helpers import PROJECT_ROOT, wait_until
from tests.stack import ROLES, PrivateStack, copy_project


@contextmanager
def feed_running(stack: PrivateStack) -> Iterator[None]:
    """The program in docs/extending.md, on the ports of this stack."""
    page = (PROJECT_ROOT / "docs" / "extending.md").read_text()
    [program] = re.findall(r"```python\n(# my_feed\.py\n.*?)```", page, re.DOTALL)
    for port, private in (("5001", stack.price_port), ("5002", stack.news_port)):
        assert program.count(port) == 1
        program = program.replace(port, str(private))
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as feed:
        try:
            yield
        finally:
            feed.kill()


def listens(port: int) -> bool:
    """Whether a server listens on this port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def without_gateway(configuration: RawConfigParser) -> None:
    """Have supervisord leave the gateway alone, as the recipe says."""
    configuration["program:gateway"]["autostart"] = "false"
    started = started_programs(configuration_text(configuration))
    assert started.keys() == {*ROLES} - {"gateway"}


def test_the_stack_trades_on_a_feed_in_each_run_from_its_first_tick(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project", without_gateway)
    with PrivateStack(project=project) as clone, feed_running(clone):
        wait_until(lambda: listens(clone.price_port) and listens(clone.news_port), "it listens")
        for run in (1, 2):
            orders = len(clone.events("strategy", "order_sent"))
            main = clone.start(wait=False)
            assert comes_to_listen(clone.var_dir, main), (clone.directory / "main.out").read_text()
            wait_until(
                lambda n=orders: len(clone.events("strategy", "order_sent")) > n, "it trades"
            )
            started = clone.events("strategy", "evaluation_started")[-1]
            assert (started["tape"], started["last_evaluated"]) == ("", 0)
            assert len(clone.events("strategy", "evaluation_started")) == run
            clone.wait_for_event("orderbook", "connected", stream="price", tape=None)
            with SharedPriceBook.attach(clone.book_name) as book:
                assert 100 < book.read("AAPL") < 300
            assert "STOPPED" in clone.supervisorctl("status", "gateway")
            assert clone.stop() == 0
        assert clone.output("order_manager")[0].startswith("Received Order 1: ")
        assert clone.events("strategy", "order_sent")[0]["symbol"] in ("AAPL", "MSFT")
        assert clone.missed("strategy") == []
        for role in ("orderbook", "strategy"):
            for event in ("malformed_frames", "unknown_symbols", "no_delimiter"):
                assert clone.events(role, event) == []
