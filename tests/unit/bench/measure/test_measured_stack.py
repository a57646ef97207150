"""Several strategies are several programs; what a process takes is read from the kernel."""

from __future__ import annotations

import configparser
import os
import time

import pytest

from bench.errors import BenchError
from bench.measure.measured_stack import UsageMeter, client_ids, with_strategies
from lib.settings import PROJECT_ROOT, Settings


def programs(configuration: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(configuration)
    prefix = "program:"
    return {
        name.removeprefix(prefix): dict(parser[name])
        for name in parser.sections()
        if name.startswith(prefix)
    }


def test_another_strategy_differs_in_its_name_alone() -> None:
    original = (PROJECT_ROOT / "etc" / "supervisord.conf").read_text()
    names = ["strategy-2", "strategy-3"]
    found, before = programs(with_strategies(original, names)), programs(original)
    assert found.keys() == before.keys() | set(names)
    for name in names:
        command = before["strategy"]["command"]
        assert found[name] == before["strategy"] | {"command": f"{command} {name}"}
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
