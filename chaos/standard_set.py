"""Record the standard set: every experiment once, one after the other, in under 15 minutes.

The experiments run on private stacks with the settings of etc/trading.toml, because a running stack
has its own settings, age and ledger, and its figures would not be comparable. The output and the
figures of each experiment go to var/chaos. After the last one, the figures are copied to
report/chaos, from which `python -m report` writes the report.

With names of experiments, only these are run, and the recorded figures of the others stay: for a
change of an experiment. All figures are of one machine and one software.

Exit codes: 0 every hypothesis holds and every goal in the report is reached, 1 one does not hold or
is missed (all experiments are still run), 130 after Ctrl-C (report/chaos stays unchanged).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from chaos.lab.experiment import EXIT_DOES_NOT_HOLD, EXIT_HOLDS
from chaos.report.recorded import (
    RECORDED,
    RECORDING,
    load_recorded,
    require_figures,
)
from chaos.report.series import missed_goals
from lib.clock import utc_stamp
from lib.reports.errors import ReportError
from lib.reports.machine import machine_facts, software_facts
from lib.settings import DEFAULT_FILE, PROJECT_ROOT, load_settings
from lib.stack.launch import wake_supervisord
from lib.stack.long_program import (
    EXIT_INTERRUPTED,
    CommandLine,
    run_interruptible,
    time_left,
    write_json,
)

OUTPUT: Final = PROJECT_ROOT / "var" / "chaos"
"""The directory of outputs and figures, and the `var_dir` of the private stacks. Not deeper,
because the path of a socket is limited to some 100 characters."""
LIMIT_FACTOR: Final = 3
"""An experiment is interrupted after this many times its expected duration."""
PUT_BACK_S: Final = 60.0
"""How long an interrupted experiment may take to undo its faults and end its stack."""
_LOAD: Final = "load_average"
"""What changes in the facts of a machine."""
_WORDS: Final = {
    EXIT_HOLDS: "holds",
    EXIT_DOES_NOT_HOLD: "does not hold",
    EXIT_INTERRUPTED: "took too long",
}


@dataclass(frozen=True)
class PlannedExperiment:
    """One experiment of the set, with its arguments: the file in chaos, and its options."""

    name: str
    """The name of the file with its figures, without .json."""
    arguments: tuple[str, ...]
    expected_s: int
    """How long it took when measured on two cores, in seconds."""

    @property
    def command(self) -> str:
        """The command that runs the same experiment by hand."""
        return f"python chaos/{' '.join(self.arguments)}"


STANDARD_SET: Final = (
    PlannedExperiment("drop_gateway", ("drop_gateway.py", "--times", "20"), 53),
    PlannedExperiment(
        "drop_gateway_large_tape",
        ("drop_gateway.py", "--tape-ticks", "10000000", "--times", "20"),
        57,
    ),
    PlannedExperiment("drop_orderbook", ("drop_orderbook.py", "--times", "20"), 53),
    PlannedExperiment("drop_strategy", ("drop_strategy.py", "--times", "20"), 53),
    PlannedExperiment("drop_order_manager", ("drop_order_manager.py", "--times", "20"), 53),
    PlannedExperiment("freeze_gateway", ("freeze.py", "gateway", "--times", "5"), 24),
    PlannedExperiment("freeze_orderbook", ("freeze.py", "orderbook", "--times", "5"), 24),
    PlannedExperiment("freeze_strategy", ("freeze.py", "strategy", "--times", "5"), 24),
    PlannedExperiment("freeze_order_manager", ("freeze.py", "order_manager", "--times", "5"), 24),
    PlannedExperiment("cut_connection", ("cut_connection.py", "--times", "2"), 181),
    PlannedExperiment("slow_consumer", ("slow_consumer.py", "--times", "3"), 71),
    PlannedExperiment("corrupt_feed", ("corrupt_feed.py", "--times", "1"), 30),
    PlannedExperiment("kill_everything", ("kill_everything.py", "--times", "2"), 15),
    PlannedExperiment("crash_loop", ("crash_loop.py", "--times", "1"), 60),
    PlannedExperiment("vanish", ("vanish.py", "--times", "1"), 45),
    PlannedExperiment("plant", ("plant.py", "--times", "1"), 50),
    PlannedExperiment("storm", ("storm.py", "--minutes", "1", "--seed", "1"), 65),
)


def main() -> int:
    """Run and record the standard set; return the exit code."""
    return run_set(STANDARD_SET, RECORDED, "python -m chaos.standard_set", __doc__)


def run_set(
    experiments: Sequence[PlannedExperiment], recorded: Path, program: str, description: str | None
) -> int:
    """Run and record a set, or what the command line names of it; return the exit code."""
    parser = CommandLine(program, description)
    names = [experiment.name for experiment in experiments]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}")
    chosen = parser.parse_args().names
    if unknown := [name for name in chosen if name not in names]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(names)}")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    if wake_supervisord(load_settings(DEFAULT_FILE).var_dir):
        print("another stack is running and uses the same cores: the times will be longer")
    try:
        kept = _kept_entries(chosen, recorded) if chosen else []
    except ReportError as error:
        print(error, file=sys.stderr)
        return EXIT_DOES_NOT_HOLD
    run = partial(record, experiments, chosen or names, kept, recorded)
    where = f"{recorded.parent.name}/{recorded.name}"
    interrupted = run_interruptible(run, f"\ninterrupted: {where} stays as it was")
    return interrupted or exit_code_for(recorded)


def record(
    experiments: Sequence[PlannedExperiment],
    names: Collection[str],
    kept: Sequence[dict[str, Any]],
    recorded: Path,
) -> int:
    """Run the experiments of these names and publish their figures; return 0. Raises Interrupted.

    `kept` are the entries of others, whose figures are in `recorded`.
    """
    recording: dict[str, Any] = {
        "began_utc": utc_stamp(),
        "machine": machine_facts(),
        "software": software_facts(),
    }
    chosen = [experiment for experiment in experiments if experiment.name in names]
    entries = {entry["name"]: entry for entry in [*kept, *record_experiments(chosen, OUTPUT)]}
    for entry in kept:
        shutil.copyfile(recorded / f"{entry['name']}.json", OUTPUT / f"{entry['name']}.json")
    planned = (experiment.name for experiment in experiments)
    recording["experiments"] = [entries[name] for name in planned if name in entries]
    recording["ended_utc"] = utc_stamp()
    publish_figures(recording, OUTPUT, recorded)
    return 0


def _kept_entries(chosen: Collection[str], directory: Path) -> list[dict[str, Any]]:
    """Return the recorded entries of the other experiments. Raises ReportError."""
    recorded = load_recorded(directory)
    machine = {**machine_facts(), _LOAD: None}
    if recorded.recording["software"] != software_facts() or machine != {
        **recorded.recording["machine"],
        _LOAD: None,
    }:
        raise ReportError(
            f"the figures in {directory.parent.name}/{directory.name} are of another machine or "
            "other software"
        )
    others = [e for e in recorded.recording["experiments"] if e["name"] not in chosen]
    return [entry for entry in others if entry["name"] in recorded.figures]


def exit_code_for(recorded: Path) -> int:
    """Say which goals are missed; return the exit code for what was recorded."""
    try:
        with require_figures():
            found = load_recorded(recorded)
            missed = missed_goals(found.figures)
    except ReportError as error:
        print(error, file=sys.stderr)
        return EXIT_DOES_NOT_HOLD
    for reason in missed:
        print(f"missed: {reason}")
    held = all(entry["exit_code"] == EXIT_HOLDS for entry in found.recording["experiments"])
    return EXIT_HOLDS if held and not missed else EXIT_DOES_NOT_HOLD


def record_experiments(
    experiments: Sequence[PlannedExperiment], output: Path
) -> list[dict[str, Any]]:
    """Run the experiments in order; return what to record of each. Raises Interrupted."""
    entries = []
    for number, experiment in enumerate(experiments, 1):
        left_s = sum(later.expected_s for later in experiments[number - 1 :])
        place = f"[{number}/{len(experiments)}] {time_left(left_s)}"
        print(f"{place}: {experiment.command} ... ", end="", flush=True)
        begun_s = time.monotonic()
        exit_code = run_one(experiment, output)
        took_s = round(time.monotonic() - begun_s, 1)
        print(f"{_WORDS.get(exit_code, 'failed')} ({took_s:.0f} s)", flush=True)
        if exit_code != EXIT_HOLDS:
            print(f"    see {output / experiment.name}.txt")
        name, command = experiment.name, experiment.command
        entries.append({"name": name, "command": command, "exit_code": exit_code, "took_s": took_s})
    return entries


def run_one(experiment: PlannedExperiment, output: Path) -> int:
    """Run one experiment; return its exit code, `EXIT_INTERRUPTED` if it did not end in time.

    Raises Interrupted once the experiment has undone its faults.
    """
    figures = output / f"{experiment.name}.json"
    figures.unlink(missing_ok=True)  # if the experiment fails, no old figures may remain
    script, *arguments = experiment.arguments
    command: list[str | Path] = [sys.executable, PROJECT_ROOT / "chaos" / script, *arguments]
    command += ["--config", DEFAULT_FILE, "--var-dir", output, "--json", figures]
    with (output / f"{experiment.name}.txt").open("wb") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only this process, which forwards it
        )
        try:
            return process.wait(experiment.expected_s * LIMIT_FACTOR)
        except subprocess.TimeoutExpired:
            return EXIT_INTERRUPTED
        finally:  # wait until it has undone its faults
            process.terminate()
            try:
                process.wait(PUT_BACK_S)
            except subprocess.TimeoutExpired:
                process.kill()  # its stack ends when its output pipe breaks
                process.wait()


def publish_figures(recording: dict[str, Any], output: Path, recorded: Path) -> None:
    """Replace the recorded figures by those of this run; remove the plots of the old ones.

    The new directory is written beside the old one first, so that one of them is always complete.
    """
    new, old = (recorded.with_name(f"{recorded.name}.{suffix}") for suffix in ("new", "old"))
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for entry in recording["experiments"]:
            figures = output / f"{entry['name']}.json"
            if figures.exists():
                shutil.copyfile(figures, new / figures.name)
        write_json(recording, new / RECORDING)
        if recorded.exists():
            recorded.rename(old)
        new.rename(recorded)
    finally:
        if old.exists() and not recorded.exists():
            old.rename(recorded)
        for rest in (new, old):
            shutil.rmtree(rest, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
