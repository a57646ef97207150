"""Kill each new process of a role as soon as it appears, until supervisord gives the role up.

That is what a role looks like that cannot start. Expected: supervisord tries it as often as its
configuration says (which takes about a minute), the watchdog logs `role_gave_up`, and no other role
is ended meanwhile. Then the cause is gone: the lab starts the role as a person would, and
everything goes on. Orders that grew too old meanwhile are rejected as expired; nothing is lost.
"""

from __future__ import annotations

import configparser
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.lab.experiment import (
    RECOVERY_S,
    Experiment,
    RoundContext,
    ShowProgress,
    command_line,
    role_argument,
    run,
)
from chaos.lab.figures import WATCHDOG, FaultFigures
from chaos.lab.recorder import SUPERVISORD, Event
from chaos.lab.recovery import HEADING, STEPS, RecoveryTimer, row, times
from chaos.lab.target import TargetStack, known_roles
from lib.process.process_handle import ProcessHandle
from lib.process.supervisor import Process
from lib.settings import PROJECT_ROOT
from lib.stack.log_follower import GIVEN_UP, SPAWNED, Follower, Line, tell_supervisor

GIVE_UP_S: Final = 120.0
"""How long supervisord may take until it gives up: with 10 retries it waits 55 s in all."""
TOLD_S: Final = 5.0
"""How long the watchdog may take to say so: it asks supervisord once a second."""
LOOK_S: Final = 0.005
"""Much less than the second after which supervisord takes a new process for a good one."""
SUPERVISORD_LOG: Final = "supervisord.log"


@dataclass(frozen=True)
class CrashLoopOutcome:
    """One crash loop. Times are in ns; None where it did not happen."""

    starts: int
    """How many processes supervisord started, and the lab killed."""
    fatal_ns: int | None
    """From the first kill until supervisord gave up."""
    told_ns: int | None
    """From then until the watchdog said so."""
    disturbed: tuple[str, ...]
    """Other roles that ended or got another process meanwhile."""
    recovery: FaultFigures | None
    """From the start by hand on; None where it did not come to that."""


class CrashLoop(Experiment):
    """The same role, so many times."""

    name = "crash_loop"

    def __init__(self, role: str, times: int) -> None:
        self.title = f"crash loop of {role}, {times} times"
        self.hypothesis = (
            f"supervisord gives {role} up after its {start_retries(role)} retries and not before, "
            "that is logged, no other role ends; after a start by hand nothing is lost, or twice"
        )
        self.rounds = times
        self.roles = (role,)
        self.found: list[CrashLoopOutcome] = []
        self._role = role
        self._broken_in: TargetStack | None = None

    def round(self, stage: RoundContext, number: int) -> None:
        """Kill it until it is given up, start it, wait for the recovery."""
        stage.tell("waiting for the steady state")
        before = stage.target.wait_until_steady()
        self._broken_in = stage.target
        self.found.append(self._crash(stage, before))
        self.put_back()

    def put_back(self) -> None:
        """Start it where it does not run."""
        if self._broken_in:
            self._broken_in.revive(self._role)
            self._broken_in = None

    def _crash(self, stage: RoundContext, before: Mapping[str, Process]) -> CrashLoopOutcome:
        recording, role = stage.recorder.recording, self._role
        seen_events = len(recording.events)
        injected_ns = time.monotonic_ns()
        log = stage.target.var_dir / SUPERVISORD_LOG
        starts = kill_until_given_up(log, role, before[role].pid, stage.tell)
        fatal_ns = None if starts is None else time.monotonic_ns()
        told_ns = None
        deadline_s = time.monotonic() + TOLD_S
        while role != WATCHDOG and not told_ns and time.monotonic() < deadline_s:
            time.sleep(LOOK_S)
            told_ns = gave_up_ns(role, recording.events[seen_events:])
        disturbed = others_disturbed(
            role, recording.events[seen_events:], before, stage.target.processes()
        )
        recovery = None
        if fatal_ns is not None:
            stage.tell("recovering")
            watch = RecoveryTimer(stage.recorder, self.roles)
            stage.target.start(role)
            recovery = watch.until_recovered(RECOVERY_S)
        return CrashLoopOutcome(
            starts or 0,
            fatal_ns and fatal_ns - injected_ns,
            # The recorder looks at the logs by itself, and may be a little late.
            fatal_ns and told_ns and max(0, told_ns - fatal_ns),
            disturbed,
            recovery,
        )

    def table(self) -> list[str]:
        """Each time with its median, p90 and maximum."""
        recoveries = [outcome.recovery for outcome in self.found if outcome.recovery]
        starts = ", ".join(str(outcome.starts) for outcome in self.found) or "-"
        return [
            f"starts until it was given up: {starts}",
            HEADING,
            row("until supervisord gives it up", times(self.found, "fatal_ns")),
            row("from then until watchdog says so", times(self.found, "told_ns")),
            "started by hand",
            *(row(f"  {label}", times(recoveries, figure)) for label, figure in STEPS[1:]),
        ]

    def reasons(self) -> list[str]:
        """Given up in time, told, nobody else disturbed, recovered."""
        retries = start_retries(self._role)
        return [
            f"crash loop {number}: {reason}"
            for number, outcome in enumerate(self.found, 1)
            for reason in unfulfilled(self._role, outcome, retries)
        ]

    def figures(self) -> dict[str, Any]:
        """Return all figures of all crash loops."""
        return {"role": self._role, "rounds": [asdict(outcome) for outcome in self.found]}


def start_retries(role: str) -> int:
    """How often supervisord tries a role again that does not start."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read(PROJECT_ROOT / "etc" / "supervisord.conf", encoding="utf-8")
    return parser.getint(f"program:{role}", "startretries")


def kill_until_given_up(log: Path, role: str, pid: int, tell: ShowProgress) -> int | None:
    """Kill this process of the role and all that follow it; count those that were started.

    `log` is supervisord's: it says whom it has started. None: it was not given up within
    `GIVE_UP_S`.
    """
    starts = 0
    with new_lines_of(log) as new_lines:
        kill(pid)
        deadline_s = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline_s:
            for line in new_lines(role):
                if line.event == SPAWNED:
                    kill(int(line.detail))
                    starts += 1
                    tell(f"start {starts} was killed")
                elif line.event == GIVEN_UP:
                    return starts
            time.sleep(LOOK_S)
    return None


@contextmanager
def new_lines_of(log: Path) -> Iterator[Callable[[str], list[Line]]]:
    """Give what supervisord logs of a role from now on, as `lib.stack.log_follower` reads it.

    Its log and no question to it: that would wake it, and so shorten the waits.
    """
    follower = Follower(log, from_end=True)

    def new_lines(role: str) -> list[Line]:
        told = (tell_supervisor(raw.decode(errors="replace")) for raw in follower.read())
        return [line for line in told if line and line.role == role]

    try:
        yield new_lines
    finally:
        follower.close()


def kill(pid: int) -> None:
    """End this process, unless it has ended by itself."""
    with suppress(ProcessLookupError), closing(ProcessHandle(pid)) as process:
        process.kill()


def gave_up_ns(role: str, events: Sequence[Event]) -> int | None:
    """When the watchdog said that this role has been given up. Pure."""
    return next(
        (
            event.at_ns
            for event in events
            if (event.source, event.name) == (WATCHDOG, "role_gave_up")
            and event.details.get("program") == role
        ),
        None,
    )


def others_disturbed(
    role: str,
    events: Sequence[Event],
    before: Mapping[str, Process],
    after: Mapping[str, Process],
) -> tuple[str, ...]:
    """Return the other roles that have ended meanwhile, or are another process now. Pure."""
    ended = {e.details["role"] for e in events if (e.source, e.name) == (SUPERVISORD, "ended")}
    changed = {name for name, process in before.items() if after[name].pid != process.pid}
    return tuple(sorted((ended | changed) - {role}))


def unfulfilled(role: str, outcome: CrashLoopOutcome, retries: int) -> list[str]:
    """Say what was not as expected of one crash loop, a line each. Pure."""
    if outcome.fatal_ns is None:
        return [f"supervisord did not give {role} up within {GIVE_UP_S:g} s"]
    reasons = []
    if outcome.starts != retries + 1:
        reasons.append(
            f"given up after {outcome.starts} starts, with {retries} retries {retries + 1} were due"
        )
    if outcome.told_ns is None and role != WATCHDOG:
        reasons.append(f"the watchdog did not log role_gave_up within {TOLD_S:g} s")
    if outcome.disturbed:
        reasons.append(f"also ended meanwhile: {', '.join(outcome.disturbed)}")
    if outcome.recovery and outcome.recovery.pending:
        reasons.append(f"waited in vain until {' and until '.join(outcome.recovery.pending)}")
    return reasons


if __name__ == "__main__":
    parser = command_line(CrashLoop.name, __doc__, times=1)
    parser.add_argument(
        "role",
        metavar="ROLE",
        nargs="?",
        type=role_argument,
        default="order_manager",
        help=f"{', '.join(known_roles())} (default: order_manager)",
    )
    arguments = parser.parse_args()
    sys.exit(run(CrashLoop(arguments.role, arguments.times), arguments))
