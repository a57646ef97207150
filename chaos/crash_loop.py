"""Kill each new process of a role as soon as it appears, until supervisord gives up on the role.

This simulates a role that cannot start. Expected: supervisord retries as often as its configuration
says (about a minute), the watchdog logs `role_gave_up`, and no other role ends in between. Then the
lab starts the role, as an operator would after removing the cause, and the stack recovers. Orders
that became too old are rejected as expired; nothing is lost. Always on a private stack.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
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
    run_experiment,
)
from chaos.lab.figures import ENDS, WATCHDOG, FaultFigures
from chaos.lab.recorder import Event
from chaos.lab.recovery import HEADING, STEPS, RecoveryTimer, figure_times, step_rows, table_row
from chaos.lab.target import known_roles, wait_for
from lib.process.log_events import RoleGaveUp
from lib.process.process_handle import ProcessHandle
from lib.process.supervisor import Process
from lib.stack.log_follower import GIVEN_UP, SPAWNED, SupervisorEvent
from lib.stack.supervisord_configuration import (
    PROGRAM,
    parse_configuration,
    read_configuration,
)

GIVE_UP_S: Final = 120.0
"""How long supervisord may take to give up; it waits a second longer before each retry."""
WATCHDOG_LOGS_S: Final = 5.0
"""How long the watchdog may take to log it; it asks supervisord once a second."""
LOOK_S: Final = 0.005
"""The polling interval; much less than the `startsecs` after which a start counts as good."""


@dataclass(frozen=True)
class CrashLoopOutcome:
    """One crash loop. Times are in ns; None: it did not happen."""

    starts: int
    """How many processes supervisord started and the lab killed."""
    fatal_ns: int | None
    """From the first kill until supervisord gave up."""
    told_ns: int | None
    """From then until the watchdog logged it."""
    disturbed: tuple[str, ...]
    """Other roles that ended or got another process in between."""
    recovery: FaultFigures | None
    """The recovery after the start by hand; None if there was none."""


class CrashLoop(Experiment):
    """A crash loop of one role, `times` times."""

    name = "crash_loop"
    needs_private = True

    def __init__(self, role: str, times: int) -> None:
        self.title = f"crash loop of {role}, {times} times"
        self.hypothesis = (
            f"supervisord gives up on {role} after exactly {start_retries(role)} retries, the "
            "watchdog logs it, no other role ends; after a start by hand nothing is lost or done "
            "twice"
        )
        self.rounds = times
        self.roles = (role,)
        self.found: list[CrashLoopOutcome] = []
        self._role = role

    def run_round(self, context: RoundContext, number: int) -> None:
        """Kill the role until supervisord gives up, start it, wait for the recovery."""
        context.show_progress("waiting for the steady state")
        before = context.target.wait_until_steady()
        events, role = context.recorder.recording.events, self._role
        seen_events = len(events)
        injected_ns = time.monotonic_ns()
        starts = kill_until_given_up(events, role, before[role].pid, context.show_progress)
        given_up_ns = time.monotonic_ns()
        if role != WATCHDOG:
            wait_for(lambda: gave_up_ns(role, events[seen_events:]) is not None, WATCHDOG_LOGS_S)
        told_ns = gave_up_ns(role, events[seen_events:])
        after = context.target.processes()
        disturbed = others_disturbed(role, events[seen_events:], before, after)
        if starts is None:
            self.found.append(CrashLoopOutcome(0, None, None, disturbed, None))
            return
        context.show_progress("recovering")
        timer = RecoveryTimer(context.recorder, self.roles)
        context.target.start(role)
        recovery = timer.until_recovered(RECOVERY_S)
        # The recorder polls the logs in its own thread and may be a little late.
        late_ns = told_ns and max(0, told_ns - given_up_ns)
        fatal_ns = given_up_ns - injected_ns
        self.found.append(CrashLoopOutcome(starts, fatal_ns, late_ns, disturbed, recovery))

    def table(self) -> list[str]:
        """List each time with its median, p90 and maximum."""
        starts = ", ".join(str(outcome.starts) for outcome in self.found) or "-"
        return [
            f"starts until supervisord gave up: {starts}",
            HEADING,
            table_row("until supervisord gives up", figure_times(self.found, "fatal_ns")),
            table_row("from then until watchdog logs it", figure_times(self.found, "told_ns")),
            "started by hand",
            *step_rows((one.recovery for one in self.found if one.recovery), STEPS[1:]),
        ]

    def reasons(self) -> list[str]:
        """Check that supervisord gave up, the watchdog logged it, and the stack recovered."""
        retries = start_retries(self._role)
        return [
            f"crash loop {number}: {reason}"
            for number, outcome in enumerate(self.found, 1)
            for reason in unmet_expectations(self._role, outcome, retries)
        ]

    def figures(self) -> dict[str, Any]:
        """Return all figures of all crash loops."""
        return {"role": self._role, "rounds": [asdict(outcome) for outcome in self.found]}


def start_retries(role: str) -> int:
    """Return how often supervisord retries a role that fails to start."""
    configuration = parse_configuration(read_configuration())
    return configuration.getint(f"{PROGRAM}{role}", "startretries")


def kill_until_given_up(
    events: Sequence[Event], role: str, pid: int, show_progress: ShowProgress
) -> int | None:
    """Kill this process of the role and all later ones; return how many were started.

    `events` grow meanwhile: supervisord's log has the new pids. A question to supervisord would
    wake it, and so shorten its waits. None: it did not give up within `GIVE_UP_S`.
    """
    starts, seen = 0, len(events)
    kill(pid)
    deadline_s = time.monotonic() + GIVE_UP_S
    while time.monotonic() < deadline_s:
        for _, _, what in events[seen:]:
            seen += 1
            if not isinstance(what, SupervisorEvent) or what.program != role:
                continue
            if what.event == GIVEN_UP:
                return starts
            if what.event == SPAWNED:
                kill(what.pid)
                starts += 1
                show_progress(f"start {starts} was killed")
        time.sleep(LOOK_S)
    return None


def kill(pid: int) -> None:
    """Kill this process, unless it has already ended."""
    with suppress(ProcessLookupError), closing(ProcessHandle(pid)) as process:
        process.kill()


def gave_up_ns(role: str, events: Sequence[Event]) -> int | None:
    """Return when the watchdog logged that supervisord gave up on this role. Pure."""
    given_up = (e for e in events if isinstance(e.what, RoleGaveUp) and e.what.program == role)
    return next((event.at_ns for event in given_up), None)


def others_disturbed(
    role: str,
    events: Sequence[Event],
    before: Mapping[str, Process],
    after: Mapping[str, Process],
) -> tuple[str, ...]:
    """Return the other roles that have ended, or have another process now. Pure."""
    changes = [event.what for event in events if isinstance(event.what, SupervisorEvent)]
    ended = {one.program for one in changes if one.event in ENDS}
    changed = {name for name, process in before.items() if after[name].pid != process.pid}
    return tuple(sorted((ended | changed) - {role}))


def unmet_expectations(role: str, outcome: CrashLoopOutcome, retries: int) -> list[str]:
    """List what was not as expected in one crash loop, a line each. Pure."""
    if outcome.fatal_ns is None:
        return [f"supervisord did not give up on {role} within {GIVE_UP_S:g} s"]
    reasons = []
    if outcome.starts != retries + 1:
        reasons.append(
            f"given up after {outcome.starts} starts, expected {retries + 1} with {retries} retries"
        )
    if outcome.told_ns is None and role != WATCHDOG:
        reasons.append(f"the watchdog did not log role_gave_up within {WATCHDOG_LOGS_S:g} s")
    if outcome.disturbed:
        reasons.append(f"also ended in between: {', '.join(outcome.disturbed)}")
    if outcome.recovery and outcome.recovery.pending:
        reasons.append(f"timed out waiting until {' and until '.join(outcome.recovery.pending)}")
    return reasons


if __name__ == "__main__":
    parser = command_line(CrashLoop.name, __doc__, times=1)
    text = f"{', '.join(known_roles())} (default: order_manager)"
    parser.add_argument(
        "role", metavar="ROLE", nargs="?", type=role_argument, default="order_manager", help=text
    )
    arguments = parser.parse_args()
    sys.exit(run_experiment(CrashLoop(arguments.role, arguments.times), arguments))
