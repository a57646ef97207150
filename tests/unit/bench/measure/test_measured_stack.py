"""Several strategies are several programs; what a process takes is read from the kernel."""

from __future__ import annotations

import os
import time
from configparser import RawConfigParser

import pytest

from bench.errors import BenchError
from bench.measure.measured_stack import UsageMeter, add_strategy_programs, client_ids
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
    names, before = ["strategy-2", "strategy-3"], programs(parser)
    add_strategy_programs(parser, names)
    found = programs(parse_configuration(configuration_text(parser)))
    assert found.keys() == before.keys() | {f"{PROGRAM}{name}" for name in names}
    first = before[f"{PROGRAM}strategy"]
    for name in names:
        command = f"{first['command']} {name}"
        assert found[f"{PROGRAM}{name}"] == first | {"command": command}
    assert {name: found[name] for name in before} == before


def test_every_strategy_has_a_client_id_of_its_own_and_the_first_is_the_usual_one() -> None:
    assert client_ids(Settings(), 1) == ["strategy"]
    assert client_ids(Settings(), 3) == ["strategy", "strategy-2", "strategy-3"]


class Myself:
    """A stack that consists of this process."""

    def pids(self) -> dict[str, int]:
        return {"me": os.getpid()}


def test_a_process_that_does_nothing_but_work_takes_most_of_a_core() -> None:
    meter = UsageMeter(Myself())  # type: ignore[arg-type]
    began_s = time.process_time()
    while time.process_time() - began_s < 0.3:
        pass
    [usage] = meter.read()
    assert usage.role == "me"
    assert 0.1 < usage.cpu_share < 1.2
    assert 10**6 < usage.resident_bytes < 10**10


def test_a_process_that_sleeps_takes_next_to_nothing() -> None:
    meter = UsageMeter(Myself())  # type: ignore[arg-type]
    time.sleep(0.3)
    [usage] = meter.read()
    assert usage.cpu_share < 0.1


def test_a_process_that_ended_meanwhile_is_an_error() -> None:
    class Gone:
        def pids(self) -> dict[str, int]:
            return {"gone": 2**22 + 1}

    with pytest.raises(BenchError, match="has ended"):
        UsageMeter(Gone())  # type: ignore[arg-type]
