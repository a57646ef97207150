"""Each stage does its work on ticks that are not always the same, in the roles' environment."""

from __future__ import annotations

import itertools
import os
import subprocess

from bench.measure.stages import (
    BATCH_TICKS,
    Work,
    best_ns,
    measure_alone,
    role_environment,
)
from tests.helpers import PROJECT_ROOT
from tests.recordings import recording


def test_the_best_repetition_counts_for_one_unit(monkeypatch) -> None:
    # Begin and end of four repetitions, of which the third is the quickest.
    moments = iter([0, 900, 1000, 1700, 2000, 2500, 3000, 3800])
    monkeypatch.setattr("bench.measure.stages.time.perf_counter_ns", lambda: next(moments))
    seconds = itertools.count()
    monkeypatch.setattr("bench.measure.stages.time.monotonic", lambda: next(seconds))
    assert best_ns(Work("work", 100, lambda: None), 4.0) == 5.0


def test_all_stages_and_calls_are_measured_and_each_takes_time() -> None:
    before, found = dict(os.environ), recording(stages=[], calls=[])
    measure_alone(4, 0.001, found)
    stages, calls = found.stages, found.calls
    many = ["generate", "encode", "decode", "book write", "book read", "signal"]
    one = ["decode", "book write and read", "signal"]
    assert [(stage.name, stage.batch_ticks) for stage in stages] == [
        *((name, BATCH_TICKS) for name in many),
        *((name, 1) for name in one),
    ]
    assert {stage.symbols for stage in stages} == {4}
    assert [call.name for call in calls] == ["read", "update", "reader().arm"]
    assert all(stage.ns_per_tick > 0 for stage in stages)
    assert all(call.ns_per_call > 0 for call in calls)
    assert dict(os.environ) == before


def test_the_environment_is_what_the_script_of_the_roles_sets() -> None:
    script = (PROJECT_ROOT / "etc" / "run-role").read_text()
    exports = [line for line in script.splitlines() if line.startswith("export ")]
    shell = "\n".join([*exports, "env"])
    printed = subprocess.run(["sh", "-c", shell], env={}, capture_output=True, text=True).stdout
    environment = dict(line.split("=", 1) for line in printed.splitlines())
    assert role_environment() == {k: v for k, v in environment.items() if k not in ("PWD", "_")}
