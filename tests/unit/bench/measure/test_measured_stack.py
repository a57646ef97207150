"""Several strategies are several programs; what a process takes is read from the kernel."""

from __future__ import annotations

from configparser import RawConfigParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.measure import measured_stack
from bench.measure.measured_stack import (
    MeasuredStack,
    Published,
    UsageMeter,
    add_strategy_programs,
)
from bench.results import Usage
from lib.clock import SECOND_NS
from lib.process.run_identity import ProcessStat
from lib.settings import Settings
from lib.stack.supervisord_configuration import (
    PROGRAM,
    configuration_text,
    parse_configuration,
    read_configuration,
)


def programs(parser: RawConfigParser) -> dict[str, dict[str, str]]:
    return {name: dict(parser[name]) for name in parser.sections() if name.startswith(PROGRAM)}


def test_another_strategy_differs_in_its_name_alone() -> None:
    parser = parse_configuration(read_configuration())
    before = programs(parser)
    add_strategy_programs(parser, ["strategy-2"])
    first = before[f"{PROGRAM}strategy"]
    second = first | {"command": f"{first['command']} strategy-2"}
    found = programs(parse_configuration(configuration_text(parser)))
    assert found == before | {f"{PROGRAM}strategy-2": second}


def test_a_process_has_its_cpu_time_over_the_time_that_passed(monkeypatch) -> None:
    stats = iter([ProcessStat(True, 1.0, 0.5, 9.0, 10), ProcessStat(True, 1.2, 0.7, 9.0, 20)])
    now_ns = iter([0, 2 * SECOND_NS])
    monkeypatch.setattr(measured_stack, "process_stat", lambda _: next(stats))
    monkeypatch.setattr(measured_stack.time, "monotonic_ns", lambda: next(now_ns))
    stack = SimpleNamespace(pids=lambda: {"role": 1})
    [usage] = UsageMeter(stack).read()  # type: ignore[arg-type]
    assert usage == Usage("role", pytest.approx(0.2), 20)


def test_a_rate_is_set_once_the_new_gateway_publishes(monkeypatch) -> None:
    nothing = SimpleNamespace(stop=lambda _: None, start=lambda _: None)
    private = SimpleNamespace(
        var_dir=Path("var"), settings=Settings(), write_settings=lambda _: None
    )
    stack = MeasuredStack(private, 1)  # type: ignore[arg-type]
    published = iter([5, 5, 6])
    monkeypatch.setattr(stack, "_supervisor", nothing)
    monkeypatch.setattr(stack, "published", lambda: Published("tape", next(published)))
    monkeypatch.setattr(stack, "wait_until_steady", lambda: None)
    stack.set_rate(7.0)
    assert list(published) == []
