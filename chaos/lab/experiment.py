"""The framework of every experiment: steady state, hypothesis, inject, recover, measure, verdict.

A script defines an `Experiment`; `run_experiment` does the rest. A round begins in the steady
state, injects a fault, waits for the recovery and measures it. At the end the whole recording is
judged (`chaos.lab.verdict`): whatever was broken, nothing may be lost or done twice.

Exit codes: 0 the hypothesis holds, 1 it does not, 2 there is no stack to experiment on (or a wrong
command line), 130 after Ctrl-C. In every case all faults are undone.
"""

from __future__ import annotations

import argparse
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final, Protocol

from chaos.lab.recorder import Recorder
from chaos.lab.target import TargetError, TargetStack, find_target, known_roles
from chaos.lab.verdict import Totals, count_totals, judge_findings, losses, wait_until_settled
from lib.clock import MILLISECOND_NS, utc_stamp
from lib.settings import Settings
from lib.stack.long_program import (
    EXIT_WRONG_COMMAND_LINE,
    CommandLine,
    Interrupted,
    output_file,
    run_interruptible,
    write_json,
)
from lib.stack.progress_bar import ProgressBar

RECOVERY_S: Final = 15.0
"""How long a recovery may take, on top of the time to detect the fault."""
GOAL_ROUNDS: Final = 20
"""A goal for a median is judged from this many times on; with fewer it is only shown."""
MAX_TIMES: Final = 10_000

_CONFIG: Final = "$TRADING_CONFIG, else etc/trading.toml"

EXIT_HOLDS: Final = 0
EXIT_DOES_NOT_HOLD: Final = 1
EXIT_NO_TARGET: Final = EXIT_WRONG_COMMAND_LINE


class ShowProgress(Protocol):
    """Shows what the experiment is doing."""

    def __call__(self, what: str, part: float = 0.0) -> None:
        """Show `what`. `part`: how much of the round is done, 0 to 1."""


@dataclass(frozen=True)
class RoundContext:
    """What a round works with."""

    target: TargetStack
    recorder: Recorder
    random: Random
    """Seeded by `--seed`."""
    show_progress: ShowProgress


class Experiment(ABC):
    """An experiment: what it does to a stack, and what it found. Used for one `run_experiment`."""

    name: str
    """The name of its file without .py: "drop_gateway"."""
    title: str
    """A short description: "SIGKILL of gateway"."""
    hypothesis: str
    """The expected outcome, in one sentence."""
    rounds: int
    roles: Collection[str] = ()
    """The roles that are hit; the stack must have them."""
    needs_private: bool = False
    """Whether it must have a private stack, even if another stack is running."""

    def private_settings(self, settings: Settings) -> Settings:
        """Return the settings of a private stack, made from those of the command line. Pure."""
        return settings

    def find_target(self, arguments: argparse.Namespace) -> TargetStack:
        """Find what the command line names, or start a private one. Raises TargetError."""
        return find_target(
            arguments.config,
            arguments.var_dir,
            self.private_settings,
            needs_private=self.needs_private,
        )

    def prepared(self, target: TargetStack) -> AbstractContextManager[None]:
        """Set up what all rounds need, such as proxies, while they last. Raises TargetError."""
        return nullcontext()

    @abstractmethod
    def run_round(self, context: RoundContext, number: int) -> None:
        """Inject a fault, wait for the recovery, measure it; undo the fault.

        `number` counts from 0. Raises TargetError if the stack is not in a state for a round.
        """

    def put_back(self) -> None:  # noqa: B027 - there may be nothing to undo
        """Undo what an unfinished round has left broken.

        Ctrl-C may come at any moment, also during this call: then it is called again. Raises
        TargetError.
        """

    def withheld(self) -> Mapping[str, Collection[int]]:
        """Return the ticks that the experiment kept out of the book for good, by tape.

        They are not required of the stack. `reasons` must check that the stack logged them.
        """
        return {}

    @abstractmethod
    def table(self) -> list[str]:
        """Return the lines of the human-readable table."""

    @abstractmethod
    def reasons(self) -> list[str]:
        """Say why the hypothesis does not hold, a line each; the framework checks for losses."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """Return the raw figures for the JSON file. Times are in ns."""


@dataclass(frozen=True)
class ExperimentResult:
    """The result of an experiment."""

    totals: Totals
    reasons: list[str]
    """Why the hypothesis does not hold, a line each; [] if it does."""
    not_judged: str = ""
    """What the judge could not judge, and why."""


def command_line(name: str, description: str | None, times: int = 5) -> argparse.ArgumentParser:
    """Return a parser with the options that all experiments share."""
    parser = CommandLine(f"chaos/{name}.py", description)
    for option, metavar, kind, default, text in (
        ("--times", "N", _times, times, f"how often (default: {times})"),
        ("--seed", "N", int, 1, "of the random moments (default: 1)"),
        ("--json", "FILE", output_file, None, "where to write all raw figures"),
        ("--config", "FILE", Path, None, f"the settings of the stack (default: {_CONFIG})"),
        ("--var-dir", "DIR", Path, None, "its var directory (default: var_dir of the settings)"),
    ):
        parser.add_argument(option, metavar=metavar, type=kind, default=default, help=text)
    return parser


def run_experiment(experiment: Experiment, arguments: argparse.Namespace) -> int:
    """Run an experiment and print its table; return the exit code."""
    program = f"chaos/{experiment.name}.py"

    def run() -> int:
        try:
            return _run_on_target(experiment, arguments)
        except (TargetError, OSError) as error:
            print(f"{program}: {error}", file=sys.stderr)
            return EXIT_NO_TARGET

    return run_interruptible(run, f"{program}: interrupted, what was broken is put back")


def _run_on_target(experiment: Experiment, arguments: argparse.Namespace) -> int:
    """Run an experiment; write its figures. Raises TargetError, OSError and Interrupted."""
    with experiment.find_target(arguments) as target:
        try:
            result = _run(experiment, target, Random(arguments.seed))
        except Interrupted:
            target.end()
            target.remove_files()
            raise
    print(report_text(experiment, result))
    if not result.reasons:
        target.remove_files()
    elif target.private:
        print(f"its logs and its ledger stay in {target.var_dir}")
    if arguments.json:
        write_json(to_json(experiment, arguments.seed, result), arguments.json)
    return EXIT_DOES_NOT_HOLD if result.reasons else EXIT_HOLDS


def _run(experiment: Experiment, target: TargetStack, random: Random) -> ExperimentResult:
    where = f"a stack is running in {target.var_dir}"
    if target.private:
        why = "always run on a private stack" if experiment.needs_private else "no stack is running"
        where = f"{why}: started a private one in {target.var_dir}"
    print(where, f"hypothesis: {experiment.hypothesis}", sep="\n", flush=True)
    missing = set(experiment.roles) - target.wait_until_steady().keys()
    if missing:
        raise TargetError(f"the stack in {target.var_dir} has no role {', '.join(sorted(missing))}")
    with experiment.prepared(target):
        target.wait_until_steady()
        with Recorder(target) as recorder:
            recorder.wait_until_caught_up()
            recording = recorder.recording
            troubles = recording.troubles
            try:
                with putting_back(experiment):
                    troubles += _rounds(experiment, target, recorder, random)
            except TargetError as error:
                troubles.append(f"could not be put back: {error}")
            tape_ended = recording.tape_ended
            complete_to = wait_until_settled(target, recording)
        for tape, sequences in experiment.withheld().items():
            for sequence in sequences:
                recording.tapes[tape].pop(sequence, None)
        totals = count_totals(target, recording, complete_to)
        troubles += target.differences()
        target.end()
    if recording.ended_early:  # without a complete recording there is no verdict on the stack
        return ExperimentResult(totals, [recording.ended_early])
    findings, unjudged = judge_findings(target, recording, complete_to)
    # After the end of the tape the experiment waited for ticks until its timeout.
    own_reasons = [] if tape_ended else experiment.reasons()
    reasons = [*own_reasons, *losses(totals, experiment.roles), *troubles, *findings]
    return ExperimentResult(totals, reasons, unjudged)


def _rounds(
    experiment: Experiment, target: TargetStack, recorder: Recorder, random: Random
) -> list[str]:
    """Run all rounds; return why they ended early, if they did."""
    bar = ProgressBar.on_stderr()
    rounds, number = experiment.rounds, 0

    def show_progress(what: str, part: float = 0.0) -> None:
        bar.draw((number + part) / rounds, f"{number}/{rounds} {what}")

    context = RoundContext(target, recorder, random, show_progress)
    try:
        for number in range(rounds):
            recorder.require_sight()
            experiment.run_round(context, number)
        show_progress("waiting for ticks and orders in transit", 1.0)
    except TargetError as error:  # the stack was healthy before
        if not recorder.recording.tape_ended:
            return [f"round {number + 1}: {error}"]
    finally:
        bar.erase()
    if recorder.recording.tape_ended:
        return [f"the tape has ended in round {number + 1}: choose a longer one"]
    return []


@contextmanager
def putting_back(experiment: Experiment) -> Iterator[None]:
    """Call `put_back` when the block ends, and again if Ctrl-C interrupts it."""
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
    try:
        try:
            experiment.put_back()
        except Interrupted as error:
            failure = error
            experiment.put_back()  # later signals are ignored
    except TargetError as error:
        if not isinstance(failure, Interrupted):
            raise
        raise Interrupted(f"chaos/{experiment.name}.py: could not be put back: {error}") from error
    if failure:
        raise failure


def report_text(experiment: Experiment, result: ExperimentResult) -> str:
    """Return the human-readable report of an experiment."""
    totals = result.totals
    ticks = (
        ("ticks", ("missed", "repeated", "out of order")),
        ("at the book", totals.book),
        ("at the strategy", totals.strategy),
    )
    orders = ", ".join(f"{count} {what}" for what, count in totals.orders._asdict().items())
    lines = [
        experiment.title,
        "",
        *experiment.table(),
        "",
        *(f"{label:<34}{one:>9}{two:>10}{three:>14}" for label, (one, two, three) in ticks),
        "",
        f"orders: {orders}",
        "",
        "the hypothesis holds" if not result.reasons else "the hypothesis does not hold:",
        *(f"  {reason}" for reason in result.reasons),
        *([f"not judged: {result.not_judged}"] if result.not_judged else []),
    ]
    return "\n".join(lines)


def to_json(experiment: Experiment, seed: int, result: ExperimentResult) -> dict[str, Any]:
    """Return the content of the JSON file. Times are in ns."""
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "hypothesis": experiment.hypothesis,
        "seed": seed,
        "ended_utc": utc_stamp(),
        **experiment.figures(),
        "ticks_at_book": result.totals.book._asdict(),
        "ticks_at_strategy": result.totals.strategy._asdict(),
        "orders": result.totals.orders._asdict(),
        "holds": not result.reasons,
        "reasons": result.reasons,
        "not_judged": result.not_judged,
    }


def cells(times_ns: Sequence[int]) -> tuple[str, str, str]:
    """Return median, 90th percentile (the nearest rank) and maximum in ms, for a table."""
    if not times_ns:
        return "-", "-", "-"
    ordered = sorted(times_ns)
    rank = -(-len(ordered) * 9 // 10)
    summary = median(ordered), ordered[rank - 1], ordered[-1]
    middle, p90, most = (f"{time_ns / MILLISECOND_NS:.1f}" for time_ns in summary)
    return middle, p90, most


def missed_goal(what: str, times_ns: Sequence[int], goal_ns: int) -> list[str]:
    """Say that a median is above its goal; [] if it is not, or there are too few to judge."""
    if len(times_ns) < GOAL_ROUNDS or median(times_ns) <= goal_ns:
        return []
    return [
        f"{what}: {median(times_ns) / MILLISECOND_NS:.1f} ms is the median of {len(times_ns)}, "
        f"the goal is {goal_ns / MILLISECOND_NS:g} ms"
    ]


def role_argument(text: str) -> str:
    """Parse the name of a role. Raises ArgumentTypeError."""
    if text not in known_roles():
        raise argparse.ArgumentTypeError(f"no role {text!r}; there are {', '.join(known_roles())}")
    return text


def _times(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= MAX_TIMES:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MAX_TIMES}, got {text!r}")
    return int(text)
