"""What a recording says about the machine: enough to compare, nothing that is private."""

from __future__ import annotations

import os
import platform

import pytest

from lib.reports import machine
from lib.reports.machine import machine_facts, software_facts
from lib.settings import PROJECT_ROOT


@pytest.mark.parametrize(
    ("flags", "is_virtual"), [("fpu hypervisor", True), ("fpu", False), ("fpu nohypervisor", False)]
)
def test_the_facts_are_those_of_the_kernel(monkeypatch, tmp_path, flags, is_virtual):
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "MEMORY_INFO", tmp_path / "meminfo")
    (tmp_path / "cpuinfo").write_text(f"model name\t: Abacus 3\nflags\t\t: {flags} tsc\n")
    (tmp_path / "meminfo").write_text("MemTotal:        4063232 kB\n")
    facts = machine_facts()
    assert (facts["cpu"], facts["virtual"], facts["memory_gib"]) == ("Abacus 3", is_virtual, 4)
    assert facts["cores"] == len(os.sched_getaffinity(0))


def test_facts_that_cannot_be_had_are_none(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(machine, "MEMORY_INFO", tmp_path / "none")
    assert (machine_facts()["cpu"], machine_facts()["memory_gib"]) == (None, None)


def test_neither_the_host_nor_a_path_is_among_the_facts():
    facts = f"{machine_facts()} {software_facts()}"

    assert platform.node() not in facts
    assert str(PROJECT_ROOT) not in facts


def test_the_software_is_what_runs_the_stack_and_not_what_tests_it():
    facts = software_facts()

    assert facts["Python"] == platform.python_version()
    assert {"numpy", "supervisor", "structlog", "msgspec"} < facts.keys()
    assert not {"pytest", "ruff"} & facts.keys()
