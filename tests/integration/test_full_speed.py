"""A year of daily closes at `rate = 0` under one sentiment: the orders of the oracle, each time."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.helpers import wait_until
from tests.integration.test_oracle import (
    CASES,
    RULES,
    SYMBOLS,
    last_evaluated,
    orders_of,
    read_tape,
    run_of,
)
from tests.stack import PrivateStack

DAYS, RUNS = 252, 3


@pytest.mark.parametrize(("seed", "sentiment"), [(1, 80), (2, 20)])
def test_a_short_tape_gives_the_orders_of_the_rules_in_every_run(
    tmp_path: Path, seed: int, sentiment: int
) -> None:
    random, price = Random(seed), 15_000
    rows = []
    for _ in range(DAYS):
        price += random.randint(-150, 150)
        rows.append(f"{random.choice(SYMBOLS[:3])},{price / 100:.2f}\n")
    tape_path, news_path = tmp_path / "tape.csv", tmp_path / "news.csv"
    tape_path.write_text("".join(["Symbol,Close\n", *rows]))
    news_path.write_text(f"{sentiment}\n" * 100)
    tape = read_tape(tape_path)
    expected = list(orders_of(RULES, tape, {1: sentiment}, 1))
    assert expected
    settings = {
        "": {"symbols": SYMBOLS},
        "gateway": {
            "source": "file",
            "path": str(tape_path),
            "rate": 0.0,
            "news_path": str(news_path),
            "news_interval": 100.0,
        },
    }
    for _ in range(RUNS):
        with PrivateStack(settings) as stack:
            stack.start()
            wait_until(lambda s=stack: last_evaluated(s) == DAYS, "the last tick is evaluated")
            wait_until(  # a tick is stored as evaluated before its orders are sent
                lambda s=stack: len(s.events("strategy", "order_filled")) >= len(expected),
                "the orders are answered",
            )
            run = run_of(stack, tape, CASES["real"])
            assert run.first_evaluated == 1
            assert run.news == {1: sentiment}
            assert run.missed == []
            assert run.sent == expected
