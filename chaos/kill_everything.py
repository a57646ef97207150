"""Kill everything: all roles at the same moment, and then supervisord itself.

There are two rounds each time. First every role gets SIGKILL at once. The watchdog dies, too, so
nothing wakes supervisord: it may start a role only a second later. Expected: all roles come back,
the tape continues where it was, and nothing is lost or handled twice.

Then supervisord gets SIGKILL. Expected: every role ends with it, no port stays in use, the price
book is removed. After the stack is started again, a new tape is played and the ledger continues.
Ticks and orders in transit at the kill are lost with the tape. Always on a private stack.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.lab.experiment import Experiment, RoundContext, command_line, run_experiment
from chaos.lab.figures import FaultFigures
from chaos.lab.recovery import HEADING, STEPS, RecoveryTimer, step_rows, table_row, unrecovered
from chaos.lab.target import TargetError, TargetStack, known_roles, wait_for
from chaos.lab.verdict import ledger_orders
from lib.errors import CannotStartError
from lib.process.process_handle import ProcessHandle
from lib.stack.launch import check_ports, wake_supervisord
from lib.stack.supervisord_configuration import read_configuration, started_programs

MAX_WAIT_S: Final = 1.0
"""The longest random wait before a kill: one period of supervisord's loop."""
ALL_BACK_S: Final = 30.0
"""How long everything may take to come back; all roles start at once, on few cores."""
LEFT_S: Final = 3.0
"""How long the roles, ports and files of a killed supervisord may take to be gone."""
NEW_ORDER_S: Final = 5.0
"""How long to wait for a new order in the ledger; there need not be any."""
LEFT_LOOK_S: Final = 0.002

Departure = dict[str, int | None]
"""How long after SIGKILL of supervisord each sign of its end came, in ns; None: it did not."""
DEPARTURE_LABELS: Final = {
    "roles_ns": "every role has ended",
    "ports_ns": "no port is in use",
    "socket_ns": "control socket is dead",
    "price_book_ns": "price book is removed",
}


class KillEverything(Experiment):
    """Both kills, one after the other, `times` times."""

    name = "kill_everything"
    hypothesis = (
        "after SIGKILL of all roles at once everything comes back and continues where it was; "
        "a killed supervisord leaves nothing running, and started again it continues the ledger"
    )
    needs_private = True

    def __init__(self, times: int) -> None:
        self.title = f"SIGKILL of all roles at once, and of supervisord, {times} times each"
        self.rounds = 2 * times
        self.roles = known_roles()
        self.roles_killed: list[FaultFigures] = []
        self.departures: list[Departure] = []
        self.started_again: list[FaultFigures] = []
        """The recoveries after supervisord was started again; times count from that start."""
        self.new_orders: list[int] = []
        """How many new orders were booked after each start of supervisord."""
        self._troubles: list[str] = []

    def run_round(self, context: RoundContext, number: int) -> None:
        """Kill all roles in even rounds, supervisord in odd ones."""
        context.show_progress("waiting for the steady state")
        processes = context.target.wait_until_steady()
        time.sleep(context.random.uniform(0, MAX_WAIT_S))
        with ExitStack() as handles:
            try:
                pids = [process.pid for process in processes.values()]
                roles = [handles.enter_context(closing(ProcessHandle(pid))) for pid in pids]
            except ProcessLookupError as error:
                raise TargetError(f"a role ended by itself before it was hit: {error}") from None
            if number % 2 == 0:
                self._kill_roles(context, roles)
            else:
                supervisord = handles.enter_context(closing(context.target.supervisord()))
                self._kill_supervisord(context, supervisord, roles)

    def _kill_roles(self, context: RoundContext, roles: Sequence[ProcessHandle]) -> None:
        context.show_progress("all roles are killed: recovering")
        timer = RecoveryTimer(context.recorder, self.roles)
        for role in roles:
            role.kill()
        self.roles_killed.append(timer.until_recovered(ALL_BACK_S))

    def _kill_supervisord(
        self, context: RoundContext, supervisord: ProcessHandle, roles: Sequence[ProcessHandle]
    ) -> None:
        context.show_progress("supervisord is killed: waiting until everything is gone")
        target, recording = context.target, context.recorder.recording
        tape = recording.playing
        timer = RecoveryTimer(context.recorder, self.roles)
        recording.cut_off.add(tape)
        supervisord.kill()
        self.departures.append(departure(_signs(target, supervisord, roles)))
        before = ledger_orders(target)
        timer.begun_ns = target.start_again()
        context.show_progress("started again: recovering")
        # After a start by the lab there is no fault to detect.
        self.started_again.append(replace(timer.until_recovered(ALL_BACK_S), detection_ns=None))
        where = f"start {len(self.started_again)}"
        if recording.playing == tape and not self.started_again[-1].pending:
            self._troubles.append(f"{where}: the old tape is still played")
        wait_for(lambda: len(ledger_orders(target)) > len(before), NEW_ORDER_S)
        after = ledger_orders(target)
        self.new_orders.append(len(after) - len(before))
        if gone := set(before) - set(after):
            self._troubles.append(f"{where}: {len(gone)} orders in the ledger are changed or gone")

    def table(self) -> list[str]:
        """List each time with its median, p90 and maximum."""
        return [
            HEADING,
            "all roles killed",
            *step_rows(self.roles_killed),
            "supervisord killed",
            *(
                table_row(f"  {label}", [ns for left in self.departures if (ns := left[sign])])
                for sign, label in DEPARTURE_LABELS.items()
            ),
            "supervisord started again",
            *step_rows(self.started_again, STEPS[1:]),
            f"  orders booked since: {', '.join(map(str, self.new_orders)) or '-'}",
        ]

    def reasons(self) -> list[str]:
        """Check that everything was gone, came back, and continued."""
        return [
            *unrecovered("kill", self.roles_killed),
            *unrecovered("start", self.started_again),
            *(
                f"end {number} of supervisord: not so within {LEFT_S:g} s: {label}"
                for number, left in enumerate(self.departures, 1)
                for sign, label in DEPARTURE_LABELS.items()
                if left[sign] is None
            ),
            *self._troubles,
        ]

    def figures(self) -> dict[str, Any]:
        """Return all figures of both kinds of kills."""
        return {
            "roles_killed": [asdict(found) for found in self.roles_killed],
            "supervisord_killed": [
                {"departure": left, "started_again": asdict(found), "new_orders": orders}
                for left, found, orders in zip(
                    self.departures, self.started_again, self.new_orders, strict=False
                )
            ],
        }


def departure(signs: dict[str, Callable[[], bool]]) -> Departure:
    """Measure when each sign is there, for at most `LEFT_S`."""
    killed_ns = time.monotonic_ns()
    seen_ns: Departure = dict.fromkeys(signs)

    def are_all_there() -> bool:
        for sign, is_there in signs.items():
            if seen_ns[sign] is None and is_there():
                seen_ns[sign] = time.monotonic_ns() - killed_ns
        return None not in seen_ns.values()

    wait_for(are_all_there, LEFT_S, LEFT_LOOK_S)
    return seen_ns


def _signs(
    target: TargetStack, supervisord: ProcessHandle, roles: Iterable[ProcessHandle]
) -> dict[str, Callable[[], bool]]:
    return {
        "roles_ns": lambda: all(role.has_ended() for role in roles),
        "ports_ns": lambda: _ports_are_free(target),
        "socket_ns": lambda: supervisord.has_ended() and not wake_supervisord(target.var_dir),
        "price_book_ns": lambda: not target.segments(),
    }


def _ports_are_free(target: TargetStack) -> bool:
    try:
        check_ports(target.settings, started_programs(read_configuration()).values())
    except CannotStartError:
        return False
    return True


if __name__ == "__main__":
    parser = command_line(KillEverything.name, __doc__)
    arguments = parser.parse_args()
    sys.exit(run_experiment(KillEverything(arguments.times), arguments))
