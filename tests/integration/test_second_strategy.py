"""Several strategies in a stack, set up by docs/extending.md: each trades in its own, as itself."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lib.ledger.reader import read_ledger
from tests.helpers import DEADLINE_S, PROJECT_ROOT, wait_until
from tests.stack import PrivateStack, copy_project


def recipe() -> dict[str, str]:
    """The two blocks of the recipe in docs/extending.md, by language."""
    page = (PROJECT_ROOT / "docs" / "extending.md").read_text()
    section = page.partition("## A second strategy\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    assert [language for language, _ in blocks] == ["toml", "ini"]
    return dict(blocks)


def wait_for_fills(stack: PrivateStack, program: str, count: int) -> None:
    what = f"{program} has {count} fills"
    wait_until(lambda: len(stack.events(program, "order_filled")) >= count, what)


def start_second_by_hand(stack: PrivateStack, **environment: str) -> subprocess.Popen[bytes]:
    """Start one more strategy of the same client_id."""
    return subprocess.Popen(
        [sys.executable, "-m", "daemons.strategy", "second"],
        cwd=stack.project,
        env={**stack.environment, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[PrivateStack]:
    """A stack of a copy of the project, with the settings and the program of the recipe."""
    root = tmp_path_factory.mktemp("copy") / "project"
    project = copy_project(root, lambda configuration: configuration.read_string(recipe()["ini"]))
    with PrivateStack({"gateway": {"rate": 500.0, "news_interval": 0.05}}, project=project) as made:
        with made.config.open("a") as settings:
            settings.write(recipe()["toml"])
        made.start()
        yield made


def test_the_recipe_of_the_page_makes_a_second_strategy_that_trades_in_its_stack(
    stack: PrivateStack,
) -> None:
    wait_for_fills(stack, "second_strategy", 3)
    with read_ledger(stack.var_dir / "orders.sqlite") as ledger:
        booked = {order.order_id for order in ledger.orders() if order.client_id == "second"}
    fills = stack.events("second_strategy", "order_filled")[:3]
    assert {fill["order_id"] for fill in fills} <= booked
    assert {e["role"] for e in stack.events("second_strategy")} == {"strategy:second"}
    assert "strategies strategy, second;" in (stack.directory / "main.out").read_text()


def test_a_strategy_of_a_client_id_that_trades_already_refuses_and_the_first_trades_on(
    stack: PrivateStack,
) -> None:
    wait_for_fills(stack, "second_strategy", 1)
    twin = start_second_by_hand(stack)
    _, said = twin.communicate(timeout=DEADLINE_S)
    assert twin.returncode == 1
    [line] = said.decode().splitlines()
    assert "cannot_start" in line
    assert f"process {stack.pid('second_strategy')} holds" in line
    fills = len(stack.events("second_strategy", "order_filled"))
    wait_for_fills(stack, "second_strategy", fills + 3)
    assert len(stack.events("order_manager", "client_logged_on")) == 2


def test_strategies_of_one_client_id_in_two_places_are_reported_by_the_order_manager_once(
    stack: PrivateStack,
) -> None:
    elsewhere = start_second_by_hand(stack, TRADING_VAR_DIR=str(stack.directory / "elsewhere"))
    try:
        contest = stack.wait_for_event("order_manager", "client_id_contested")
        assert (contest["level"], contest["client_id"]) == ("warning", "second")

        def logons() -> list[dict[str, object]]:
            logged_on = stack.events("order_manager", "client_logged_on")
            return [event for event in logged_on if event["client_id"] == "second"]

        # The contest is logged in front of the logon that shows it.
        wait_until(
            lambda: set(contest["peers"]) <= {logon["peer"] for logon in logons()},
            "both clients of the contest are logged on",
        )
        before = len(logons())

        def goes_on() -> bool:
            return len(logons()) > before + 3

        wait_until(goes_on, "they replace each other again")
        assert len(stack.events("order_manager", "client_id_contested")) == 1
    finally:
        elsewhere.kill()
        elsewhere.communicate()
