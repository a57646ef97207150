"""The frame of every experiment: steady state, hypothesis, inject, recover, measure, verdict.

An experiment brings a `Fault`; `run_experiment` does the rest. Before each fault the stack must be
in its steady state: every role running, none younger than 2 s, ticks arriving at the strategy. The
hypothesis of every fault is that afterwards it is in that state again, within `RECOVERY_S`, and
that nothing was lost or done twice on the way. When the moment comes is random, by `--seed`.

How each figure is taken is told in `chaos.figures`, what the verdict rests on in `verdict`.

Exit codes: 0 the hypothesis holds, 1 it does not, 2 there was nothing to experiment on (or a wrong
command line), 130 after Ctrl-C. What was broken is put back in every case.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median
from types import FrameType
from typing import Any, Final, Protocol

from chaos import figures
from chaos.figures import FaultFigures, OrderCounts, TickCounts
from chaos.gather import gather
from chaos.judge import judge
from chaos.recorder import Recorder, Recording
from chaos.target import Target, TargetError, find_target
from lib.clock import MILLISECOND_NS, to_ns, utc_stamp
from lib.ledger.reader import read_ledger
from lib.ledger.schema import LedgerError

RECOVERY_S: Final = 15.0
"""How long a recovery may take, beyond `hang_after`."""
SETTLE_S: Final = 5.0
"""How long what is under way at the end may take to arrive."""
MAX_WAIT_S: Final = 1.0
"""A fault comes at a random moment of so long: supervisord's loop has a period of a second."""
LOOK_S: Final = 0.02
MAX_TIMES: Final = 10_000
BAR_CHARACTERS: Final = 30

EXIT_HOLDS: Final = 0
EXIT_DOES_NOT_HOLD: Final = 1
EXIT_NO_TARGET: Final = 2
EXIT_INTERRUPTED: Final = 130

_TIMES: Final = (
    ("detection", "detection_ns"),
    ("respawn", "respawn_ns"),
    ("reconnection", "reconnection_ns"),
    ("first fresh tick at the strategy", "fresh_tick_ns"),
    ("first order possible", "order_possible_ns"),
    ("longest stale time", "stale_ns"),
)


class Fault(Protocol):
    """Something that is done to a role. Made anew for each experiment, used many times."""

    title: str
    """What is done, in a few words: "SIGKILL of gateway"."""
    role: str
    hypothesis: str
    """One sentence."""
    undo_after_s: float | None
    """From when on the lab itself puts the role back; None: somebody else has to."""

    def inject(self, target: Target, pid: int) -> None:
        """Do it. `pid` is the role's process. Raises TargetError."""

    def undo(self) -> bool:
        """Put back what is still broken; tell whether anything was. May be called at any time."""


class Interrupted(Exception):  # noqa: N818 - nobody erred
    """Ctrl-C, or SIGTERM."""


@dataclass(frozen=True)
class Totals:
    """What the whole recording amounts to."""

    book: TickCounts
    strategy: TickCounts
    orders: OrderCounts


@dataclass(frozen=True)
class Result:
    """What an experiment found."""

    rounds: list[FaultFigures]
    totals: Totals
    reasons: list[str]
    """Why the hypothesis does not hold, a line each; [] if it does."""


def command_line(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser of the options that all experiments have in common."""
    parser = argparse.ArgumentParser(
        prog=f"chaos/{name}.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--times", metavar="N", type=_times, default=5, help="how often (default: 5)"
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=1, help="of the random moments (default: 1)"
    )
    parser.add_argument(
        "--json", metavar="FILE", type=_output_file, help="where to write all raw figures"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="the settings of the stack (default: $TRADING_CONFIG, else etc/trading.toml)",
    )
    parser.add_argument(
        "--var-dir",
        metavar="DIR",
        type=Path,
        help="the var directory of the stack (default: var_dir of the settings)",
    )
    return parser


def run_experiment(name: str, fault: Fault, arguments: argparse.Namespace) -> int:
    """Run an experiment from its beginning to its table; return the exit code."""
    with signals_as_interruption():
        try:
            with find_target(arguments.config, arguments.var_dir) as target:
                result = _experiment(fault, target, arguments.times, Random(arguments.seed))
            if not result.reasons:
                target.remove_files()
            elif target.private:
                print(f"its logs and its ledger stay in {target.var_dir}")
        except TargetError as error:
            print(f"chaos/{name}.py: {error}", file=sys.stderr)
            return EXIT_NO_TARGET
        except Interrupted:
            print(f"chaos/{name}.py: interrupted, what was broken is put back", file=sys.stderr)
            return EXIT_INTERRUPTED
        print(report(fault.title, result))
        if arguments.json:
            text = json.dumps(to_json(name, fault, arguments.seed, result), indent=1)
            arguments.json.write_text(text + "\n", encoding="utf-8")
    return EXIT_DOES_NOT_HOLD if result.reasons else EXIT_HOLDS


def _experiment(fault: Fault, target: Target, times: int, random: Random) -> Result:
    where = "no stack runs: started a private one" if target.private else "a stack runs"
    print(f"{where} in {target.var_dir}", f"hypothesis: {fault.hypothesis}", sep="\n", flush=True)
    if fault.role not in target.wait_until_steady():
        raise TargetError(f"the stack in {target.var_dir} has no role {fault.role}")
    progress = Progress(times)
    rounds = []
    with Recorder(target.settings) as recorder:
        troubles = recorder.recording.troubles
        try:
            for done in range(times):
                rounds.append(_round(fault, target, recorder, random, progress.at(done)))
            progress.at(times)("what is under way arrives")
        except TargetError as error:  # it was healthy, and is not any more
            troubles.append(f"after {len(rounds)} faults: {error}")
        finally:
            _undo(fault, recorder)
            progress.clear()
        complete_to = settle(target, recorder.recording)
    totals = take_totals(target, recorder.recording, complete_to)
    target.end()
    findings = findings_about(target, recorder.recording, complete_to)
    reasons = verdict(fault.role, rounds, totals, [*troubles, *findings])
    return Result(rounds, totals, reasons)


def _round(
    fault: Fault, target: Target, recorder: Recorder, random: Random, tell: Progress.Tell
) -> FaultFigures:
    """One fault and its recovery."""
    tell("waiting for the steady state")
    process = target.wait_until_steady()[fault.role]
    time.sleep(random.uniform(0, MAX_WAIT_S))
    tell("recovering")
    recording = recorder.recording
    seen_events, seen_evaluated = len(recording.events), len(recording.evaluated)
    injected_ns = time.monotonic_ns()
    fault.inject(target, process.pid)

    def measured() -> FaultFigures:
        return figures.measure(
            fault.role,
            injected_ns,
            time.monotonic_ns(),
            recording.events[seen_events:],
            recording.evaluated[max(0, seen_evaluated - 1) :],
        )

    begun_s = time.monotonic()
    undo_s = begun_s + (fault.undo_after_s or math.inf)
    deadline_s = begun_s + target.settings.watchdog.hang_after + RECOVERY_S
    while (found := measured()).pending and time.monotonic() < deadline_s:
        if time.monotonic() >= undo_s:
            _undo(fault, recorder)
        time.sleep(LOOK_S)
    if found.pending:
        _undo(fault, recorder)
    return found


def _undo(fault: Fault, recorder: Recorder) -> None:
    if fault.undo():
        recorder.note(figures.LAB, figures.CONTINUED, role=fault.role)


def settle(target: Target, recording: Recording) -> dict[str, int]:
    """Wait until what has been played and sent has arrived, for a bounded time.

    The gateway of a private stack is stopped first, so that at the end nothing is under way.
    Returns the last number of each tape that has had the time to arrive.
    """
    complete_to = {tape: max(ticks, default=0) for tape, ticks in recording.tapes.items()}
    last = (recording.playing, complete_to.get(recording.playing, 0))
    if target.private:
        with suppress(TargetError):  # its supervisord is gone: that is in the verdict already
            target.stop("gateway")
    deadline_s = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline_s:
        booked = recording.booked[-1][:2] if recording.booked else ("", 0)
        if booked >= last and target.last_evaluated() >= last:
            break
        time.sleep(LOOK_S)
    while time.monotonic() < deadline_s and not _all_answered(target, recording):
        time.sleep(LOOK_S)
    return complete_to


def _all_answered(target: Target, recording: Recording) -> bool:
    """Whether every order is in the ledger, and the last one's answer has come back."""
    sent = figures.sent_orders(recording.events)
    answered = figures.answered_orders(recording.events)
    client_id = target.settings.strategy.client_id
    booked = {order.order_id for order in _ledger_orders(target) if order.client_id == client_id}
    return sent <= booked and (not sent or max(sent) in answered)


def _ledger_orders(target: Target) -> Iterator[Any]:
    """The orders in the ledger. Raises TargetError."""
    path = target.var_dir / target.settings.order_manager.ledger
    try:
        with read_ledger(path) as ledger:
            yield from ledger.orders()
    except (FileNotFoundError, LedgerError) as error:
        raise TargetError(str(error)) from None


def take_totals(target: Target, recording: Recording, complete_to: dict[str, int]) -> Totals:
    """Count ticks and orders over the whole recording. Raises TargetError without a ledger."""
    settings = target.settings
    return Totals(
        figures.ticks_at_book(recording.tapes, recording.booked, complete_to),
        figures.ticks_at_strategy(recording.events, recording.evaluated),
        figures.orders(
            recording.events,
            list(_ledger_orders(target)),
            settings.strategy.client_id,
            to_ns(settings.order_manager.order_ttl),
        ),
    )


def findings_about(target: Target, recording: Recording, complete_to: dict[str, int]) -> list[str]:
    """Ask the judge, after the end of a private stack, or while another one goes on.

    Raises TargetError if there is no ledger.
    """
    settings = target.settings
    max_age_ns = to_ns(settings.strategy.max_tick_age) * 9 // 10
    try:
        records = gather(
            settings,
            recording.tapes,
            recording.booked,
            evaluated={tape: sequence for _, tape, sequence in recording.evaluated},
            tail_begins={tape: last + 1 for tape, last in complete_to.items()},
            held_back=figures.held_back(recording.evaluated, recording.heard_ns, max_age_ns),
            left_behind=target.left_behind() if target.private else [],
            settled=target.private,
        )
    except (OSError, LedgerError) as error:
        raise TargetError(f"nothing to judge: {error}") from None
    return judge(records)


def verdict(
    role: str, rounds: Sequence[FaultFigures], totals: Totals, findings: Sequence[str]
) -> list[str]:
    """Say why the hypothesis does not hold, a line each; [] if it does.

    Every fault was recovered from in time; no tick was missed, repeated or out of order at the
    book or at the strategy (except that a strategy that was hit itself may report the ticks of its
    absence); no order was lost or doubled; nothing was found by recorder and judge.
    """
    reasons = [
        f"fault {number}: waited in vain until {' and until '.join(found.pending)}"
        for number, found in enumerate(rounds, 1)
        if found.pending
    ]
    for where, counts in (("the book", totals.book), ("the strategy", totals.strategy)):
        for what, count in counts._asdict().items():
            own_absence = (where, what, role) == ("the strategy", "missed", "strategy")
            if count and not own_absence:
                reasons.append(f"{count} ticks {what.replace('_', ' ')} at {where}")
    for what in ("lost", "doubled"):
        if count := getattr(totals.orders, what):
            reasons.append(f"{count} orders {what}")
    return [*reasons, *findings]


def report(title: str, result: Result) -> str:
    """Return the table of an experiment, for people."""
    lines = [f"{title}, {len(result.rounds)} times", ""]
    lines.append(f"{'time to (ms)':<34}{'n':>5}{'median':>9}{'p90':>9}{'max':>9}")
    for label, key in _TIMES:
        values = sorted(v for found in result.rounds if (v := getattr(found, key)) is not None)
        cells = (
            [f"{value / MILLISECOND_NS:.1f}" for value in _summary(values)] if values else ["-"] * 3
        )
        lines.append(f"{label:<34}{len(values):>5}" + "".join(f"{cell:>9}" for cell in cells))
    lines += ["", f"{'ticks':<34}{'missed':>9}{'repeated':>10}{'out of order':>14}"]
    for label, counts in (("at the book", result.totals.book),
                          ("at the strategy", result.totals.strategy)):  # fmt: skip
        lines.append(f"{label:<34}{counts[0]:>9}{counts[1]:>10}{counts[2]:>14}")
    orders = result.totals.orders
    lines += [
        "",
        f"orders: {orders.sent} sent, {orders.lost} lost, {orders.doubled} doubled, "
        f"{orders.expired} expired",
        "",
        "the hypothesis holds" if not result.reasons else "the hypothesis does not hold:",
        *(f"  {reason}" for reason in result.reasons),
    ]
    return "\n".join(lines)


def to_json(name: str, fault: Fault, seed: int, result: Result) -> dict[str, Any]:
    """Return all raw figures, for programs. Times are in ns."""
    return {
        "experiment": name,
        "fault": fault.title,
        "role": fault.role,
        "hypothesis": fault.hypothesis,
        "seed": seed,
        "ended_utc": utc_stamp(),
        "rounds": [asdict(found) for found in result.rounds],
        "ticks_at_book": result.totals.book._asdict(),
        "ticks_at_strategy": result.totals.strategy._asdict(),
        "orders": result.totals.orders._asdict(),
        "holds": not result.reasons,
        "reasons": result.reasons,
    }


def _summary(values: Sequence[int]) -> tuple[float, float, float]:
    """Median, 90th percentile (the nearest rank) and maximum of sorted values."""
    rank = -(-len(values) * 9 // 10)
    return median(values), values[rank - 1], values[-1]


class Progress:
    """A bar on standard error, if that is a terminal."""

    class Tell(Protocol):
        """Says what is being waited for."""

        def __call__(self, what: str) -> None:
            """Show it."""

    def __init__(self, times: int) -> None:
        self._times = times
        self._shown = sys.stderr.isatty()

    def at(self, done: int) -> Tell:
        """Return what shows the bar after `done` faults."""

        def tell(what: str) -> None:
            if self._shown:
                filled = BAR_CHARACTERS * done // self._times
                bar = f"[{'#' * filled}{'.' * (BAR_CHARACTERS - filled)}]"
                print(
                    f"\r{bar} {done}/{self._times} {what:<30}", end="", file=sys.stderr, flush=True
                )

        return tell

    def clear(self) -> None:
        """Take the bar away."""
        if self._shown:
            self._write("\r" + " " * (BAR_CHARACTERS + 50) + "\r")

    def _write(self, text: str) -> None:
        print(text, end="", file=sys.stderr, flush=True)


@contextmanager
def signals_as_interruption() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise Interrupted, once: a second must not disturb the cleaning."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _output_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in a directory that exists, got {text!r}")
    return path


def _times(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= MAX_TIMES:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MAX_TIMES}, got {text!r}")
    return int(text)
