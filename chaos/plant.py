"""Plant files in the places of the stack's own, as another user of the machine.

The names are those of the files that a running stack has, so that a new one is covered by itself.
During a run the other user does what /dev/shm lets him do, and then the roles that read what is
there are restarted. Before a start he has left, under each name, a file, a symbolic link, a FIFO or
a directory: a price book with prices of his own, at which he would buy past the collar; the locks
of another writer; FIFOs in the place of the strategy's; and whatever may lie in a var directory
that was open to him, or is his.

Expected: `main.py` or a role names the file and says whose or what it is, in one line, or the stack
trades and has not adopted it: no process uses it, what a link points to is unchanged, no price is
forged, and an order past the collar is refused. A start is tried with everything that is planted;
what is named is taken away and the start is tried again, until the stack trades. If it neither
trades nor names anything, each file is tried alone, as long as there is time.

Only root can act as another user: without root it is skipped, and says so. Always on private
stacks.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults.planted_files import OPEN_TO_ALL, OWNER, Planted, says_whose_or_what
from chaos.faults.second_user import Kind, NoSecondUserError, SecondUser
from chaos.lab import order_probe
from chaos.lab.experiment import Experiment, RoundContext, command_line, run_experiment
from chaos.lab.figures import STRATEGY
from chaos.lab.order_probe import FILLED, PAST_THE_COLLAR
from chaos.lab.stack_files import HeldFiles, files_in_shm, files_in_var, short_name
from chaos.lab.target import TargetError, TargetStack
from chaos.lab.verdict import ledger_orders
from lib.price_book.segment_files import SHM_DIR
from lib.shared_memory_utils import PriceBookError, SharedPriceBook, remove_segments
from lib.stack.private_stack import OUTPUT, PRIVATE, PrivateStack, private_settings

START_S: Final = 20.0
"""How long a start may take until the stack trades, or says what is wrong."""
REFUSED_S: Final = 3.0
"""How long a stack that has named a file may go on until it trades."""
ALONE_START_S: Final = 8.0
"""How long a start among one planted file may take."""
ALONE_S: Final = 60.0
"""How long files are tried alone, in a round."""
LOOK_S: Final = 0.1
PLAUSIBLE: Final = 2.0
"""A price that is not forged differs by less than this factor from the one that is played."""
KINDS: Final = tuple(Kind)
"""Under each name one of them is planted, in each round another one."""
BEFORE, DURING = "before the start", "during the run"
LATER_PARTS: Final = ("reader-00", "reader-01", "reader-16", "reader-63", "new-1")
"""Parts of a price book that a stack may make later: FIFOs of roles and of other readers, and a
segment that is being built."""
ATTEMPTS: Final = ("open", "write", "rename", "remove")
"""What another user tries to do with each file in /dev/shm."""
TITLE_WIDTH: Final = 68
TRACEBACK: Final = "Traceback"
VICTIMS: Final = "victims"
"""The directory beside the var directory with what planted links point to."""


@dataclass(frozen=True)
class PlantOutcome:
    """What became of one thing that was planted."""

    file: str
    kind: str
    when: str
    """BEFORE or DURING."""
    outcome: str
    """What happened, human-readable."""
    trouble: str = ""
    """What is wrong with that; "" if nothing is."""

    @property
    def title(self) -> str:
        """What was planted, where and when."""
        return f"{self.file}: {self.kind}, {self.when}"


class Plant(Experiment):
    """Everything that can be planted, `times` times."""

    name = "plant"
    hypothesis = (
        "what another user plants in the place of a file of the stack is refused in one line that "
        "names it and says whose or what it is, or not adopted; he can neither stop nor mislead it"
    )
    needs_private = True
    roles = ("orderbook", STRATEGY)

    def __init__(self, times: int) -> None:
        self.title = f"files of another user in the places of the stack's own, {times} times"
        self.rounds = times
        self.found: list[PlantOutcome] = []
        self.starts = 0
        self.skipped = ""
        """Why nothing was planted; "" if it was."""
        self._troubles: list[str] = []
        self._planted: list[Planted] = []

    def run_round(self, context: RoundContext, number: int) -> None:
        """Plant files beside a running stack, and before the start of another one."""
        try:
            with SecondUser() as second_user:
                self._plant_during_run(context, second_user)
                self._plant_before_start(context, second_user, number)
        except NoSecondUserError as error:
            self.skipped = str(error)

    def put_back(self) -> None:
        """Take away what an interrupted round has planted."""
        for planted in self._planted:
            planted.take_away()
        self._planted.clear()

    def table(self) -> list[str]:
        """List what was planted, with what became of it."""
        if self.skipped:
            return [f"skipped: {self.skipped}"]
        return [
            f"{self.starts} starts",
            f"{'planted':<{TITLE_WIDTH}}what happened",
            *(f"{one.title:<{TITLE_WIDTH}}{one.trouble or one.outcome}" for one in self.found),
        ]

    def reasons(self) -> list[str]:
        """Check that nothing was adopted, and that everything refused was named."""
        return [
            *(f"{one.title}: {one.trouble}" for one in self.found if one.trouble),
            *self._troubles,
        ]

    def figures(self) -> dict[str, Any]:
        """Return what became of each thing that was planted."""
        return {
            "skipped": self.skipped,
            "starts": self.starts,
            "planted": [asdict(one) for one in self.found],
        }

    def _plant_during_run(self, context: RoundContext, second_user: SecondUser) -> None:
        """Do in /dev/shm what its sticky bit allows, and try what it must not allow."""
        target, book = context.target, context.target.settings.price_book.name
        context.show_progress("planting beside a running stack")
        if open_to_others := [
            short_name(target, path)
            for path in (*files_in_var(target), *files_in_shm(target))
            if not path.is_symlink() and path.lstat().st_mode & 0o077
        ]:
            self._troubles.append(f"others may read or write {', '.join(open_to_others)}")
        for path in files_in_shm(target):
            refused = {attempt: second_user.attempt(attempt, path) for attempt in ATTEMPTS}
            succeeded = [attempt for attempt, reason in refused.items() if not reason]
            trouble = f"another user may {' and '.join(succeeded)} it" if succeeded else ""
            reasons = ", ".join(dict.fromkeys(refused.values()))
            name = short_name(target, path)
            self._add(name, "/".join(ATTEMPTS), DURING, f"refused: {reasons}", trouble)
        later = {part: SHM_DIR / f"{book}.{part}" for part in LATER_PARTS}
        planted = [
            Planted(f"price book.{part}", path, Kind.FIFO)
            for part, path in later.items()
            if not os.path.lexists(path)
        ]
        self._planted += planted
        for one in planted:
            _require_placed(one, second_user, target.settings.symbols)
        for role in self.roles:
            target.restart(role)
        target.wait_until_steady()
        held = HeldFiles(target)
        for one in planted:
            self._add(one.name, one.kind, DURING, "not adopted", one.adopted(held))
        self._require_true_prices(target, DURING)
        self.put_back()

    def _plant_before_start(
        self, context: RoundContext, second_user: SecondUser, number: int
    ) -> None:
        with self._private_stack(context) as stack:
            planted = self._plan(context, stack, number)
            self._planted += planted
            symbols = stack.settings.symbols
            while planted:
                for one in planted:
                    _require_placed(one, second_user, symbols)
                context.show_progress(f"starting among {len(planted)} planted files")
                left = self._try_start(stack, planted, START_S)
                if left == planted:  # it neither traded nor named one of them
                    self._try_alone(context, stack, second_user, planted)
                    break
                planted = left
        self.put_back()

    def _plan(self, context: RoundContext, stack: PrivateStack, number: int) -> list[Planted]:
        """Return what to plant, under the names of the target's files, in the other stack."""
        target, settings, root = context.target, stack.settings, stack.directory / VICTIMS
        root.mkdir()
        planted = []
        kinds = count(number)
        book, other = target.settings.price_book.name, settings.price_book.name
        parts = {path.name.removeprefix(book) for path in files_in_shm(target)}
        for part in sorted(parts | {f".{part}" for part in LATER_PARTS}):
            kind = KINDS[next(kinds) % len(KINDS)]
            planted.append(Planted(f"price book{part}", SHM_DIR / f"{other}{part}", kind))
        planted[0].kind = Kind.FILE  # the price book itself, forged
        for path in files_in_var(target):
            kind = KINDS[next(kinds) % len(KINDS)]
            name = short_name(target, path)
            content = path if path.is_file() else None
            planted.append(Planted(name, settings.var_dir / name, kind, content=content))
        for one in planted:
            if one.kind == Kind.LINK:
                one.victim = root / one.name.replace("/", "-")
        whose = (OWNER, OPEN_TO_ALL) if number % 2 == 0 else (OPEN_TO_ALL, OWNER)
        planted.append(Planted("the var directory", settings.var_dir, whose[0]))
        planted.append(Planted("its log directory", settings.var_dir / "log", whose[1]))
        return planted

    def _try_alone(
        self,
        context: RoundContext,
        stack: PrivateStack,
        second_user: SecondUser,
        planted: Sequence[Planted],
    ) -> None:
        """Try each file alone, as long as there is time, to see on which the stack is silent."""
        for one in planted:
            one.take_away()
        deadline_s = time.monotonic() + ALONE_S
        for number, one in enumerate(planted):
            if time.monotonic() > deadline_s:
                rest = ", ".join(other.name for other in planted[number:])
                self._troubles.append(f"not tried alone, because there was no time left: {rest}")
                break
            context.show_progress(f"starting with {one.name} planted")
            _require_placed(one, second_user, stack.settings.symbols)
            if self._try_start(stack, [one], ALONE_START_S):
                trouble = "the stack neither trades nor says why"
                self._add(one.name, one.kind, BEFORE, "", trouble)
            one.take_away()

    def _try_start(
        self, stack: PrivateStack, planted: list[Planted], limit_s: float
    ) -> list[Planted]:
        """Start a stack among planted files; return those of which the outcome is not known yet."""
        self.starts += 1
        target = TargetStack(stack.settings)
        with _Start(stack, target) as start:
            start.wait(planted, limit_s)
            lines = stack.said()
            left = [one for one in planted if not self._is_named(stack, one)]
            if any(line.startswith(TRACEBACK) for line in lines):
                self._troubles.append(f"main.py ends with a traceback: {lines[-1]}")
            if start.trades:
                held = HeldFiles(target)
                for one in left:
                    self._add(one.name, one.kind, BEFORE, "not adopted", one.adopted(held))
                self._require_true_prices(target, BEFORE)
        for one in planted:
            if one not in left or start.trades:
                one.take_away()
        return [] if start.trades else left

    def _is_named(self, stack: PrivateStack, one: Planted) -> bool:
        """Take note of the line that names a planted file; False if there is none."""
        named = one.named_in(stack.said())
        if not named:
            return False
        line = next(filter(says_whose_or_what, named), named[0])
        # Without the directory of this stack, whose name is another one each time.
        said = line.replace(f"{stack.directory}/", "")
        trouble = "" if says_whose_or_what(line) else f"not named as whose or what it is: {said}"
        self._add(one.name, one.kind, BEFORE, f"named: {said}", trouble)
        return True

    def _require_true_prices(self, target: TargetStack, when: str) -> None:
        """See that the price book has what is played, and that the collar holds."""
        symbol = target.settings.symbols[0]
        played = order_probe.played_price(target, symbol)
        try:
            book = SharedPriceBook.attach(target.settings.price_book.name)
        except (FileNotFoundError, PriceBookError) as error:
            self._troubles.append(f"planted {when}: the stack has no price book: {error}")
            return
        price = book.read(symbol)
        book.close()
        if not played / PLAUSIBLE < price < played * PLAUSIBLE:
            self._troubles.append(
                f"planted {when}: {symbol} is at {played}, and {price} in the book"
            )
        if order_probe.order(target, symbol, PAST_THE_COLLAR) == FILLED:
            self._troubles.append(
                f"planted {when}: BUY {symbol} at {PAST_THE_COLLAR:,.0f} was filled"
            )

    def _add(self, file: str, kind: str, when: str, outcome: str, trouble: str) -> None:
        self.found.append(PlantOutcome(file, str(kind), when, outcome, trouble))

    @contextmanager
    def _private_stack(self, context: RoundContext) -> Iterator[PrivateStack]:
        """Make a stack that is not started; leave nothing of it."""
        parent = context.target.var_dir.parent.parent
        with tempfile.TemporaryDirectory(prefix=PRIVATE, dir=parent) as name:
            directory = Path(name)
            settings = private_settings(context.target.settings, directory, "chaos-")
            with PrivateStack(settings, directory) as stack:
                yield stack
            remove_segments(settings.price_book.name)


class _Start:
    """One start of a stack. Leaving the `with` block ends it."""

    def __init__(self, stack: PrivateStack, target: TargetStack) -> None:
        self.trades = False
        self._stack = stack
        self._target = target
        self._filled = _filled_orders(target)
        (stack.directory / OUTPUT).unlink(missing_ok=True)
        self._main = stack.start()

    def wait(self, planted: Iterable[Planted], limit_s: float) -> None:
        """Wait until it trades, has ended, or has named a planted file and traded no sooner."""
        deadline_s = time.monotonic() + limit_s
        is_named = False
        while time.monotonic() < deadline_s:
            if self._main.poll() is not None:
                return
            self.trades = _filled_orders(self._target) > self._filled
            if self.trades:
                return
            if not is_named and any(one.named_in(self._stack.said()) for one in planted):
                is_named = True
                deadline_s = min(deadline_s, time.monotonic() + REFUSED_S)
            time.sleep(LOOK_S)

    def __enter__(self) -> _Start:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.end()


def _require_placed(planted: Planted, second_user: SecondUser, symbols: Sequence[str]) -> None:
    if refused := planted.place(second_user, symbols):
        raise TargetError(f"{planted.path} cannot be planted: {refused}")


def _filled_orders(target: TargetStack) -> int:
    """Count the fills of the strategy; 0 if there is no ledger that can be read."""
    if not (target.var_dir / target.settings.order_manager.ledger).is_file():
        return 0
    with suppress(TargetError):
        client_id = target.settings.strategy.client_id
        orders = ledger_orders(target)
        return sum(one.client_id == client_id and one.status == FILLED for one in orders)
    return 0


if __name__ == "__main__":
    arguments = command_line(Plant.name, __doc__, times=1).parse_args()
    sys.exit(run_experiment(Plant(arguments.times), arguments))
