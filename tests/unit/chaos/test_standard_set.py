"""Recording a set of experiments: each is run, and their figures are published."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from chaos import standard_set
from chaos.cluster_set import CLUSTER_SET
from chaos.lab.experiment import EXIT_DOES_NOT_HOLD, EXIT_HOLDS
from chaos.report.recorded import RECORDED, RECORDING, load_recorded
from chaos.standard_set import (
    STANDARD_SET,
    PlannedExperiment,
    exit_code_for,
    publish_figures,
    record_experiments,
)
from lib.clock import MILLISECOND_NS
from lib.reports.machine import machine_facts, software_facts
from lib.settings import PROJECT_ROOT
from lib.stack.long_program import EXIT_INTERRUPTED
from tests.helpers import wait_until

FIFTEEN_MINUTES_S = 15 * 60
HOLDS = """
import json, sys
with open(sys.argv[sys.argv.index("--json") + 1], "w") as file:
    json.dump({"said": sys.argv[1]}, file)
print("it holds")
"""


def test_the_standard_set_took_less_than_fifteen_minutes_when_it_was_recorded():
    experiments = load_recorded(RECORDED).recording["experiments"]

    assert {entry["name"] for entry in experiments} == {run.name for run in STANDARD_SET}
    assert sum(entry["took_s"] for entry in experiments) < FIFTEEN_MINUTES_S


def test_the_set_with_a_cluster_takes_less_than_fifteen_minutes():
    assert sum(run.expected_s for run in CLUSTER_SET) < FIFTEEN_MINUTES_S
    if recorded := load_recorded(RECORDED).cluster:
        experiments = recorded.recording["experiments"]
        assert {entry["name"] for entry in experiments} == {run.name for run in CLUSTER_SET}
        assert sum(entry["took_s"] for entry in experiments) < FIFTEEN_MINUTES_S


def test_every_experiment_is_in_one_of_the_sets_under_names_of_their_own():
    experiments = {
        path.name
        for path in (PROJECT_ROOT / "chaos").glob("*.py")
        if "sys.path.insert" in path.read_text(encoding="utf-8")
    }
    runs = (*STANDARD_SET, *CLUSTER_SET)

    assert {run.arguments[0] for run in runs} == experiments
    assert len({run.name for run in runs}) == len(runs)


def test_each_experiment_leaves_its_own_figures_and_output_also_after_one_that_failed(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(standard_set, "PROJECT_ROOT", tmp_path)
    (tmp_path / "chaos").mkdir()
    (tmp_path / "chaos" / "fails.py").write_text("import sys; sys.exit('no stack')")
    (tmp_path / "chaos" / "holds.py").write_text(HOLDS)
    (tmp_path / "one.json").write_text("{}")  # of an earlier run

    entries = record_experiments(
        [
            PlannedExperiment("one", ("fails.py",), 10),
            PlannedExperiment("two", ("holds.py", "twice"), 10),
        ],
        tmp_path,
    )

    assert [(entry["name"], entry["exit_code"]) for entry in entries] == [("one", 1), ("two", 0)]
    assert entries[1]["command"] == "python chaos/holds.py twice"
    assert "no stack" in (tmp_path / "one.txt").read_text()
    assert not (tmp_path / "one.json").exists()
    assert (tmp_path / "two.txt").read_text() == "it holds\n"
    assert json.loads((tmp_path / "two.json").read_text()) == {"said": "twice"}


def test_after_ctrl_c_nothing_is_published_and_the_experiment_has_undone_its_faults(tmp_path):
    (tmp_path / "chaos").mkdir()
    (tmp_path / "chaos" / "long.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('put back')))\n"
        "print('under way', flush=True)\n"
        "time.sleep(60)\n"
    )
    program = (
        "import sys; from pathlib import Path; from chaos import standard_set as s\n"
        f"s.PROJECT_ROOT = Path({str(tmp_path)!r}); s.OUTPUT = s.RECORDED = s.PROJECT_ROOT\n"
        "s.STANDARD_SET = [s.PlannedExperiment('one', ('long.py',), 60)]; sys.argv[1:] = []\n"
        "sys.exit(s.main())\n"
    )
    said = tmp_path / "one.txt"
    with subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT_ROOT) as process:
        wait_until(lambda: said.exists() and said.read_text(), "the experiment is under way")
        process.send_signal(signal.SIGINT)

    assert process.returncode == EXIT_INTERRUPTED
    assert "put back" in said.read_text()
    assert not (tmp_path / RECORDING).exists()


@pytest.mark.parametrize("other_machine", [False, True])
def test_one_experiment_is_recorded_anew_and_the_others_stay_if_the_machine_is_the_same(
    other_machine, monkeypatch, tmp_path, capsys
):
    (tmp_path / "chaos").mkdir()
    (tmp_path / "chaos" / "holds.py").write_text(HOLDS)
    output, recorded = tmp_path / "output", tmp_path / "recorded"
    recorded.mkdir()
    entries = [{"name": "one", "exit_code": 0}, {"name": "gone", "exit_code": 0}]
    machine = {**machine_facts(), **({"cores": 0} if other_machine else {})}
    recording = {"machine": machine, "software": software_facts(), "experiments": entries}
    (recorded / RECORDING).write_text(json.dumps(recording))
    (recorded / "one.json").write_text('{"said": "before"}')
    (recorded / "gone.json").write_text("{}")
    for name, value in (
        ("PROJECT_ROOT", tmp_path),
        ("OUTPUT", output),
        ("RECORDED", recorded),
        ("STANDARD_SET", [PlannedExperiment(one, ("holds.py", one), 10) for one in ("one", "two")]),
        ("exit_code_for", lambda _recorded: EXIT_HOLDS),
    ):
        monkeypatch.setattr(standard_set, name, value)
    monkeypatch.setattr(sys, "argv", ["standard_set", "two"])

    if other_machine:
        assert standard_set.main() == EXIT_DOES_NOT_HOLD
        assert "another machine" in capsys.readouterr().err
        return
    assert standard_set.main() == EXIT_HOLDS
    found = load_recorded(recorded)
    assert [entry["name"] for entry in found.recording["experiments"]] == ["one", "two"]
    assert found.figures == {"one": {"said": "before"}, "two": {"said": "two"}}


def test_publishing_replaces_what_was_recorded_before_and_the_plots_of_it(tmp_path):
    output, recorded = tmp_path / "output", tmp_path / "report"
    for directory in (output, recorded):
        directory.mkdir()
    (output / "one.json").write_text('{"new": 1}')
    (recorded / "two.json").write_text('{"old": 1}')
    (recorded / "recovery.svg").write_text("<svg/>")
    recording = {"experiments": [{"name": "one"}, {"name": "two"}]}

    publish_figures(recording, output, recorded)

    assert (recorded / "one.json").read_text() == '{"new": 1}'
    assert json.loads((recorded / RECORDING).read_text()) == recording
    assert {path.name for path in recorded.iterdir()} == {"one.json", RECORDING}


@pytest.mark.parametrize(
    ("exit_code", "times_ms", "expected"),
    [
        (EXIT_HOLDS, 400, EXIT_HOLDS),
        (EXIT_HOLDS, 401, EXIT_DOES_NOT_HOLD),
        (EXIT_DOES_NOT_HOLD, 400, EXIT_DOES_NOT_HOLD),
    ],
)
def test_a_hypothesis_that_does_not_hold_and_a_goal_that_is_missed_both_fail_the_set(
    exit_code, times_ms, expected, tmp_path, capsys
):
    figure = "order_possible_ns"
    frozen = {
        "experiment": "freeze",
        "role": "gateway",
        "fault": "SIGSTOP of gateway",
        "goal": {"figure": figure, "limit_ns": 400 * MILLISECOND_NS},
        "rounds": [{figure: times_ms * MILLISECOND_NS}] * 5,
    }
    (tmp_path / "one.json").write_text(json.dumps(frozen))
    recording = {"experiments": [{"name": "one", "exit_code": exit_code}]}
    (tmp_path / RECORDING).write_text(json.dumps(recording))

    assert exit_code_for(tmp_path) == expected
    assert ("missed: SIGSTOP of gateway" in capsys.readouterr().out) == (times_ms == 401)
