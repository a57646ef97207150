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

from chaos import figures
from chaos.figures import WATCHDOG, FaultFigures
from chaos.lab import EXIT_NO_TARGET, RECOVERY_S, Experiment, Stage, Tell, cells, command_line, run
from chaos.recorder import SUPERVISORD, Event
from chaos.target import Target, TargetError, known_roles
from lib.process_handle import ProcessHandle
from lib.settings import PROJECT_ROOT
from lib.story import Follower, tell_supervisor
from lib.supervisor import Process

GIVE_UP_S: Final = 120.0
"""How long supervisord may take until it gives up: with 10 retries it waits 55 s in all."""
TOLD_S: Final = 5.0
"""How long the watchdog may take to say so: it asks supervisord once a second."""
REVIVE_S: Final = 20.0
"""How long a role that is killed no more may take to run."""
LOOK_S: Final = 0.005
"""Much less than the second after which supervisord takes a new process for a good one."""
SUPERVISORD_LOG: Final = "supervisord.log"

_SPAWNED: Final = "spawned pid="
_GIVEN_UP: Final = "given up: "
"""How `lib.story` tells what supervisord logs of it."""


@dataclass(frozen=True)
class Outcome:
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
        self.found: list[Outcome] = []
        self._role = role

    def round(self, stage: Stage, number: int) -> None:
        """Kill it until it is given up, start it, wait for the recovery."""
        stage.tell("waiting for the steady state")
        before = stage.target.wait_until_steady()
        try:
            self.found.append(self._crash(stage, before))
        finally:
            revive(stage.target, self._role)

    def _crash(self, stage: Stage, before: Mapping[str, Process]) -> Outcome:
        recording, role = stage.recorder.recording, self._role
        seen_events, seen_evaluated = len(recording.events), len(recording.evaluated)
        injected_ns = time.monotonic_ns()
        log = stage.target.var_dir / SUPERVISORD_LOG
        starts = kill_until_given_up(log, role, before[role].pid, stage.tell)
        fatal_ns = None if starts is None else time.monotonic_ns()

        def events() -> list[Event]:
            return recording.events[seen_events:]

        # The recorder looks at the logs by itself, and may be a little late.
        deadline_s = time.monotonic() + TOLD_S
        while not (told_ns := gave_up_ns(role, events())) and time.monotonic() < deadline_s:
            if role == WATCHDOG:
                break  # nobody else would say it
            time.sleep(LOOK_S)
        disturbed = others_disturbed(role, events(), before, stage.target.processes())
        recovery = None
        if fatal_ns is not None:
            stage.tell("recovering")
            started_ns = time.monotonic_ns()
            stage.target.start(role)
            deadline_s = time.monotonic() + RECOVERY_S
            while True:
                recovery = figures.measure(
                    role,
                    started_ns,
                    time.monotonic_ns(),
                    events(),
                    recording.evaluated[max(0, seen_evaluated - 1) :],
                )
                if not recovery.pending or time.monotonic() > deadline_s:
                    break
                time.sleep(LOOK_S)
        return Outcome(
            starts or 0,
            fatal_ns and fatal_ns - injected_ns,
            fatal_ns and told_ns and max(0, told_ns - fatal_ns),
            disturbed,
            recovery,
        )

    def table(self) -> list[str]:
        """Each time with its median, p90 and maximum."""
        rows = (
            ("until supervisord gives up", [o.fatal_ns for o in self.found]),
            ("from then until watchdog says so", [o.told_ns for o in self.found]),
            ("start by hand to reconnection", self._recoveries("reconnection_ns")),
            ("start by hand to first fresh tick", self._recoveries("fresh_tick_ns")),
            ("start by hand to order possible", self._recoveries("order_possible_ns")),
        )
        starts = ", ".join(str(outcome.starts) for outcome in self.found) or "-"
        lines = [
            f"starts until it was given up: {starts}",
            f"{'time (ms)':<34}{'n':>5}{'median':>10}{'p90':>10}{'max':>10}",
        ]
        for label, times_ns in rows:
            known_ns = [time_ns for time_ns in times_ns if time_ns is not None]
            shown = "".join(f"{cell:>10}" for cell in cells(known_ns))
            lines.append(f"{label:<34}{len(known_ns):>5}{shown}")
        return lines

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

    def _recoveries(self, figure: str) -> list[int | None]:
        return [getattr(o.recovery, figure) for o in self.found if o.recovery]


def start_retries(role: str) -> int:
    """How often supervisord tries a role again that does not start."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read(PROJECT_ROOT / "etc" / "supervisord.conf", encoding="utf-8")
    return parser.getint(f"program:{role}", "startretries")


def kill_until_given_up(log: Path, role: str, pid: int, tell: Tell) -> int | None:
    """Kill this process of the role and all that follow it; count those that were started.

    `log` is supervisord's: it says whom it has started. None: it was not given up within
    `GIVE_UP_S`.
    """
    starts = 0
    with new_lines_of(log) as new_lines:
        kill(pid)
        deadline_s = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline_s:
            for text in new_lines(role):
                if text.startswith(_SPAWNED):
                    kill(int(text.removeprefix(_SPAWNED)))
                    starts += 1
                    tell(f"start {starts} was killed")
                elif text.startswith(_GIVEN_UP):
                    return starts
            time.sleep(LOOK_S)
    return None


@contextmanager
def new_lines_of(log: Path) -> Iterator[Callable[[str], list[str]]]:
    """Give what supervisord logs of a role from now on, as `lib.story` tells it.

    Its log and no question to it: that would wake it, and so shorten the waits.
    """
    follower = Follower(log, from_end=True)

    def new_lines(role: str) -> list[str]:
        told = (tell_supervisor(raw.decode(errors="replace")) for raw in follower.read())
        return [line.text for line in told if line and line.role == role]

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


def unfulfilled(role: str, outcome: Outcome, retries: int) -> list[str]:
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


def revive(target: Target, role: str) -> None:
    """See to it that the role runs, at once and not after supervisord's next wait.

    Raises TargetError if it does not.
    """
    deadline_s = time.monotonic() + REVIVE_S
    while (state := target.processes()[role].state) != "RUNNING":
        if time.monotonic() > deadline_s:
            raise TargetError(f"{role} does not run again, it is {state}")
        with suppress(TargetError):  # it was killed at the last moment, or was faster than we
            if state == "BACKOFF":  # there is no other way to shorten it
                target.restart(role)
            elif state in ("FATAL", "EXITED", "STOPPED"):
                target.start(role)
        time.sleep(LOOK_S)


def main() -> int:
    """Run the experiment; return the exit code."""
    parser = command_line(CrashLoop.name, __doc__, times=1)
    parser.add_argument(
        "role",
        metavar="ROLE",
        nargs="?",
        default="order_manager",
        help=f"{', '.join(known_roles())} (default: order_manager)",
    )
    arguments = parser.parse_args()
    if arguments.role not in known_roles():
        print(
            f"chaos/crash_loop.py: no role {arguments.role!r}; "
            f"there are {', '.join(known_roles())}",
            file=sys.stderr,
        )
        return EXIT_NO_TARGET
    return run(CrashLoop(arguments.role, arguments.times), arguments)


if __name__ == "__main__":
    sys.exit(main())
