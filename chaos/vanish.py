"""Remove every file that a running stack has in /dev/shm and in its var directory, under trading.

The files are found at run time. Each is removed as a person, a logout with systemd's RemoveIPC or
logrotate would do it. Expected, within seconds: it is there again and used by the programs that
used it before, or a warning or an error names it, once. Afterwards the stack trades, no role is
down, and no order passes the collar.

What the stack does not make again is put back, so that one loss does not hide the next. The price
book is also removed while there is no orderbook to make it again, and those who read it are started
then: orders must be refused, and the strategy must say why it does not trade. The files of the
ledger are removed from a stack of their own: a filled order must be in the ledger that is there.
Always on a private stack.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults.role_faults import FrozenProcess, is_watched
from chaos.lab import order_probe
from chaos.lab.experiment import (
    RECOVERY_S,
    Experiment,
    RoundContext,
    command_line,
    run_experiment,
)
from chaos.lab.figures import STRATEGY
from chaos.lab.order_probe import FILLED, PAST_THE_COLLAR
from chaos.lab.recorder import Event, Recorder
from chaos.lab.removals import LOOK_S, Removal, Remover, unmet_expectations
from chaos.lab.stack_files import files_in_shm, files_in_var, short_name
from chaos.lab.target import TargetError, TargetStack, wait_for
from chaos.lab.verdict import ledger_orders
from lib.price_book.segment_files import SHM_DIR
from lib.process.log_events import FillReported, RoleHung
from lib.stack.private_stack import PrivateStackError, start_private_stack

CONTROL_SOCKET: Final = "supervisor.sock"
FROZEN_ROLE: Final = "dashboard"
"""The role that is frozen after its heartbeat was lost: no other one depends on it."""
BOOK_READERS: Final = ("order_manager", STRATEGY)
"""The roles that are started while there is neither an orderbook nor a price book."""


class Vanish(Experiment):
    """Every file of a stack, one after the other, `times` times."""

    name = "vanish"
    hypothesis = (
        "every file of a running stack that is removed is made again and used, or its loss is "
        "logged once; the stack trades on, never without the collar, and loses no order"
    )
    needs_private = True
    roles = (STRATEGY,)  # it reports the ticks of its restart as missed

    def __init__(self, times: int) -> None:
        self.title = f"every file of a running stack removed, {times} times"
        self.rounds = times
        self._of_ledgers: list[Removal] = []
        self._troubles: list[str] = []
        self._remover: Remover | None = None
        self._stopped_in: TargetStack | None = None

    def run_round(self, context: RoundContext, number: int) -> None:
        """Remove every file once: of the target, and then the ledger of another stack."""
        remover = self._remover = self._remover or Remover(context.target, context.recorder)
        steps = self._steps(context, remover)
        try:
            for done, (what, remove) in enumerate(steps):
                context.show_progress(f"removed: {what}", done / (len(steps) + 1))
                remove()
                remover.put_back()
                self._require_trading(context, what)
        except TargetError as error:
            self._troubles.append(f"after the removal of {what}: {error}")
        context.show_progress("removed: the ledger", len(steps) / (len(steps) + 1))
        self._remove_ledger(context)

    def _steps(
        self, context: RoundContext, remover: Remover
    ) -> list[tuple[str, Callable[[], object]]]:
        """Return what to remove together, because each loss shows by itself, and in which order."""
        target, book = context.target, context.target.settings.price_book.name
        in_var = [path for path in files_in_var(target) if not _is_of_ledger(target, path)]
        context.random.shuffle(in_var)
        logs = [path for path in in_var if path.parent != target.var_dir]
        others = [path for path in in_var if path.parent == target.var_dir]
        control = [path for path in others if path.name == CONTROL_SOCKET]
        parts = [path for path in files_in_shm(target) if path.name != book]
        return [
            ("logs", partial(remover.remove, logs)),
            ("state", partial(remover.remove, [path for path in others if path not in control])),
            ("a heartbeat", partial(self._freeze, context)),
            ("the control socket", partial(remover.remove, control)),
            *(
                (short_name(target, one), partial(remover.remove, [one], book=book))
                for one in parts
            ),
            ("the price book", partial(self._remove_book, target, remover)),
            ("the price book for good", partial(self._remove_book_for_good, target, remover)),
        ]

    def put_back(self) -> None:
        """Put back what was moved, and start what an interrupted round has stopped."""
        if self._remover:
            self._remover.put_back()
            self._remover.return_logs()
        self._start_again()

    def _start_again(self) -> None:
        if self._stopped_in:
            for role in ("orderbook", *BOOK_READERS):
                self._stopped_in.revive(role)
            self._stopped_in = None

    @property
    def removals(self) -> list[Removal]:
        """What became of each file that was removed, of the ledgers last."""
        return [*(self._remover.removals() if self._remover else ()), *self._of_ledgers]

    def table(self) -> list[str]:
        """List each file with what became of it."""
        return [
            f"{'removed':<44}what happened",
            *(f"{one.title:<44}{one.outcome or '-'}" for one in self.removals),
        ]

    def reasons(self) -> list[str]:
        """Check that everything was healed or logged, and that the stack traded on."""
        return [*unmet_expectations(self.removals), *self._troubles]

    def figures(self) -> dict[str, Any]:
        """Return what became of each file."""
        return {
            "removals": [
                asdict(one) | {"title": one.title, "outcome": one.outcome} for one in self.removals
            ]
        }

    def _require_trading(self, context: RoundContext, what: str) -> None:
        """Wait until all roles run and the strategy trades; see that the collar holds."""
        target, events = context.target, context.recorder.recording.events
        target.wait_until_steady()
        seen = len(events)

        def trades() -> bool:
            return any(isinstance(event.what, FillReported) for event in events[seen:])

        if not wait_for(trades, RECOVERY_S, LOOK_S):
            self._troubles.append(f"after the removal of {what}: no order is filled any more")
        self._require_collar(target, f"after the removal of {what}")

    def _require_collar(self, target: TargetStack, when: str) -> None:
        symbol = target.settings.symbols[0]
        if order_probe.order(target, symbol, PAST_THE_COLLAR) == FILLED:
            self._troubles.append(f"{when}: BUY {symbol} at {PAST_THE_COLLAR:,.0f} was filled")

    def _freeze(self, context: RoundContext) -> None:
        """Freeze a role whose heartbeat was lost: the watchdog must still end it."""
        target, events = context.target, context.recorder.recording.events
        if not is_watched(FROZEN_ROLE, target.settings):
            return
        seen = len(events)
        frozen = FrozenProcess(target.wait_until_steady()[FROZEN_ROLE].pid)
        limit_s = target.settings.watchdog.hang_after + RECOVERY_S
        try:
            frozen.stop()
            if not wait_for(lambda: _hung(events[seen:], FROZEN_ROLE), limit_s, LOOK_S):
                self._troubles.append(f"after the removal of its heartbeat: {FROZEN_ROLE} hung on")
        finally:
            frozen.resume()

    def _remove_book(self, target: TargetStack, remover: Remover) -> None:
        """Remove the price book; have the orderbook make it if it does not do so by itself."""
        book = target.settings.price_book.name
        if not all(one.healed_ns for one in remover.remove([SHM_DIR / book], book=book)):
            target.restart("orderbook")

    def _remove_book_for_good(self, target: TargetStack, remover: Remover) -> None:
        """Remove the price book while there is no orderbook, and start those who read it."""
        book, when = target.settings.price_book.name, "without an orderbook"
        self._stopped_in = target
        for role in (*BOOK_READERS, "orderbook"):
            target.stop(role)

        def start_readers() -> None:
            for role in BOOK_READERS:
                target.start(role)

        [removal] = remover.remove(
            [SHM_DIR / book], book=book, while_what=when, meanwhile=start_readers
        )
        if not any(said.startswith(f"{STRATEGY}:") for said in removal.said):
            self._troubles.append(f"{removal.title}: the strategy does not say that it has none")
        self._require_collar(target, removal.title)
        self._start_again()

    def _remove_ledger(self, context: RoundContext) -> None:
        """Remove the files of a ledger, each while orders come, from a stack of their own."""
        settings, parent = context.target.settings, context.target.var_dir.parent.parent
        try:
            stack = start_private_stack(settings, parent, "chaos-")
        except PrivateStackError as error:
            raise TargetError(str(error)) from None
        with TargetStack(stack.settings, stack) as target:
            target.wait_until_steady()
            with Recorder(target) as recorder:
                recorder.wait_until_caught_up()
                remover = Remover(target, recorder)
                files = [path for path in files_in_var(target) if _is_of_ledger(target, path)]
                # The ledger itself last: without it the others mean nothing.
                for path in sorted(files, key=lambda path: -len(path.name)):
                    self._remove_of_ledger(target, remover, path)
                self._of_ledgers += remover.removals()
        target.remove_files()

    def _remove_of_ledger(self, target: TargetStack, remover: Remover, path: Path) -> None:
        symbol, when = target.settings.symbols[0], f"after the removal of {path.name}"
        before = _booked(target)
        remover.remove([path])
        if _is_filled(target, symbol):  # then nothing may have been lost
            after = _booked(target)
            if lost := len(before - after):
                self._troubles.append(f"{when}: orders are filled without {lost} booked before")
            if after <= before:
                self._troubles.append(f"{when}: an order was filled that the ledger does not have")
        remover.put_back()
        target.restart("order_manager")
        if not wait_for(lambda: _is_filled(target, symbol), RECOVERY_S, LOOK_S):
            self._troubles.append(f"{when}: put back, and after a restart no order is filled")
        self._troubles += [f"{when}: put back, and then: {line}" for line in target.check_ledger()]


def _is_of_ledger(target: TargetStack, path: Path) -> bool:
    return path.name.startswith(target.settings.order_manager.ledger)


def _booked(target: TargetStack) -> set[tuple[str, int]]:
    """Return the identities of the orders in the ledger; none if it cannot be read."""
    with suppress(TargetError):
        return {(order.client_id, order.order_id) for order in ledger_orders(target)}
    return set()


def _is_filled(target: TargetStack, symbol: str) -> bool:
    """Return whether an order at the market is filled."""
    with suppress(TargetError):  # the order manager is not up
        price = order_probe.played_price(target, symbol)
        return order_probe.order(target, symbol, price) == FILLED
    return False


def _hung(events: Iterable[Event], role: str) -> bool:
    return any(isinstance(one.what, RoleHung) and one.what.program == role for one in events)


if __name__ == "__main__":
    arguments = command_line(Vanish.name, __doc__, times=1).parse_args()
    sys.exit(run_experiment(Vanish(arguments.times), arguments))
