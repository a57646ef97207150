"""The frame's pure parts: the verdict, the table, the JSON, the command line."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.figures import FaultFigures, OrderCounts, TickCounts
from chaos.lab import Result, Totals, command_line, report, to_json, verdict
from chaos.role_faults import Signal
from lib.clock import MILLISECOND_NS

FINE = TickCounts(0, 0, 0)
NOTHING_WRONG = Totals(FINE, FINE, OrderCounts(sent=7, lost=0, doubled=0, expired=0))


def recovered(milliseconds: int) -> FaultFigures:
    ns = milliseconds * MILLISECOND_NS
    return FaultFigures(ns, ns, ns, None, ns, ns, ())


def test_a_recovery_without_losses_holds() -> None:
    assert verdict("gateway", [recovered(1)], NOTHING_WRONG, []) == []


def test_an_order_that_expired_is_told_and_no_reason() -> None:
    totals = replace(NOTHING_WRONG, orders=OrderCounts(sent=7, lost=0, doubled=0, expired=3))
    assert verdict("gateway", [recovered(1)], totals, []) == []


@pytest.mark.parametrize(
    ("totals", "reason"),
    [
        (replace(NOTHING_WRONG, book=TickCounts(3, 0, 0)), "3 ticks missed at the book"),
        (replace(NOTHING_WRONG, book=TickCounts(0, 3, 0)), "3 ticks repeated at the book"),
        (replace(NOTHING_WRONG, strategy=TickCounts(3, 0, 0)), "3 ticks missed at the strategy"),
        (
            replace(NOTHING_WRONG, strategy=TickCounts(0, 0, 3)),
            "3 ticks out of order at the strategy",
        ),
        (replace(NOTHING_WRONG, orders=OrderCounts(7, 1, 0, 0)), "1 orders lost"),
        (replace(NOTHING_WRONG, orders=OrderCounts(7, 0, 2, 0)), "2 orders doubled"),
    ],
)
def test_what_is_lost_or_done_twice_is_a_reason(totals: Totals, reason: str) -> None:
    assert verdict("gateway", [recovered(1)], totals, []) == [reason]


def test_a_strategy_that_was_hit_itself_may_report_the_ticks_of_its_absence() -> None:
    absent = replace(NOTHING_WRONG, strategy=TickCounts(40, 0, 0))
    assert verdict("strategy", [recovered(1)], absent, []) == []
    twice = replace(NOTHING_WRONG, strategy=TickCounts(0, 1, 0))
    assert verdict("strategy", [recovered(1)], twice, []) == ["1 ticks repeated at the strategy"]


def test_a_fault_without_recovery_is_named_with_what_is_missing() -> None:
    stuck = replace(recovered(1), pending=("gateway is back",))
    assert verdict("gateway", [recovered(1), stuck], NOTHING_WRONG, []) == [
        "fault 2: waited in vain until gateway is back"
    ]


def test_findings_are_reasons() -> None:
    assert verdict("gateway", [recovered(1)], NOTHING_WRONG, ["left behind: x"]) == [
        "left behind: x"
    ]


def result_of(*milliseconds: int, reasons: tuple[str, ...] = ()) -> Result:
    return Result([recovered(ms) for ms in milliseconds], NOTHING_WRONG, list(reasons))


def test_the_table_shows_median_p90_and_maximum_in_milliseconds() -> None:
    table = report("SIGKILL of gateway", result_of(*range(10, 101, 10)))
    assert "SIGKILL of gateway, 10 times" in table
    assert re.search(r"^respawn +10 +55\.0 +90\.0 +100\.0$", table, re.MULTILINE)
    assert re.search(r"^first fresh tick at the strategy +0 +- +- +-$", table, re.MULTILINE)
    assert "orders: 7 sent, 0 lost, 0 doubled, 0 expired" in table
    assert table.endswith("the hypothesis holds")


def test_the_table_ends_with_the_reasons() -> None:
    table = report("SIGKILL of gateway", result_of(1, reasons=("this", "that")))
    assert table.endswith("the hypothesis does not hold:\n  this\n  that")


def test_the_json_has_every_fault_and_the_verdict() -> None:
    fault = Signal("gateway", signal.Signals.SIGKILL)
    told = json.loads(json.dumps(to_json("drop_gateway", fault, 3, result_of(5, reasons=("x",)))))
    assert told["rounds"][0]["respawn_ns"] == 5 * MILLISECOND_NS
    assert (told["experiment"], told["seed"], told["holds"]) == ("drop_gateway", 3, False)
    assert told["orders"]["sent"] == 7


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--times", "0"], "a number from 1 to"),
        (["--times", "many"], "a number from 1 to"),
        (["--seed", "x"], "invalid int value"),
        (["--json", "/no/such/directory/x.json"], "a directory that exists"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_what_would_be_right(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line("drop_gateway", "").parse_args(options)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_the_common_options_are_understood(tmp_path: Path) -> None:
    arguments = command_line("drop_gateway", "").parse_args(
        ["--times", "3", "--seed", "4", "--json", str(tmp_path / "x.json")]
    )
    assert (arguments.times, arguments.seed, arguments.json) == (3, 4, tmp_path / "x.json")
