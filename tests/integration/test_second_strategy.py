"""Several strategies in a stack, set up by docs/extending.md: each trades in its own, as itself."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.ledger.reader import read_ledger
from tests.helpers import DEADLINE_S, PROJECT_ROOT, wait_until
from tests.stack import PrivateStack, copy_project

STRATEGIES = {"strategy": "strategy", "second": "second_strategy"}
"""The program of each client."""
LIVELY = {"gateway": {"rate": 500.0, "news_interval": 0.05}}


def recipe() -> dict[str, str]:
    """The two blocks of the recipe in docs/extending.md, by language."""
    page = (PROJECT_ROOT / "docs" / "extending.md").read_text()
    section = page.partition("## A second strategy\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    assert [language for language, _ in blocks] == ["toml", "ini"]
    return dict(blocks)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project, its supervisord.conf with the program of the recipe."""
    root = tmp_path_factory.mktemp("copy") / "project"
    return copy_project(root, lambda configuration: configuration.read_string(recipe()["ini"]))


def booked(stack: PrivateStack) -> dict[str, set[int]]:
    """The order_ids in a stack's ledger, by client_id."""
    with read_ledger(stack.var_dir / "orders.sqlite") as ledger:
        found: dict[str, set[int]] = {}
        for order in ledger.orders():
            found.setdefault(order.client_id, set()).add(order.order_id)
    return found


def order_ids(stack: PrivateStack, program: str, *events: str) -> set[int]:
    return {e["order_id"] for e in stack.events(program) if e["event"] in events}


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
def stack(project: Path) -> Iterator[PrivateStack]:
    """A stack with the settings of the recipe."""
    with PrivateStack(LIVELY, project=project) as made:
        with made.config.open("a") as settings:
            settings.write(recipe()["toml"])
        made.start()
        yield made


def test_the_recipe_of_the_page_makes_a_second_strategy_that_trades_in_its_stack(
    stack: PrivateStack,
) -> None:
    wait_for_fills(stack, "second_strategy", 3)
    assert order_ids(stack, "second_strategy", "order_filled") <= booked(stack)["second"]
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
    assert len(stack.events("order_manager", "client_logged_on")) == len(STRATEGIES)


def test_strategies_of_one_client_id_in_two_places_are_reported_by_the_order_manager_once(
    stack: PrivateStack,
) -> None:
    elsewhere = start_second_by_hand(stack, TRADING_VAR_DIR=str(stack.directory / "elsewhere"))
    try:
        contest = stack.wait_for_event("order_manager", "client_id_contested")
        assert (contest["level"], contest["client_id"]) == ("warning", "second")
        logons = stack.events("order_manager", "client_logged_on")
        assert set(contest["peers"]) <= {e["peer"] for e in logons if e["client_id"] == "second"}

        def goes_on() -> bool:
            return len(stack.events("order_manager", "client_logged_on")) > len(logons) + 3

        wait_until(goes_on, "they replace each other again")
        assert len(stack.events("order_manager", "client_id_contested")) == 1
    finally:
        elsewhere.kill()
        elsewhere.communicate()
