"""Has tapes prepared by the program `tape`, and opens them once they are there.

Reading a file takes a large library and seconds of work: it is done by a process of its own, which
ends afterwards (`daemons.tape`). supervisord starts it, so that `supervisorctl status` shows it;
where there is no supervisord, or it has no such program, the process is a child of this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from typing import Final

import structlog

from lib.clock import MILLISECOND_NS, Clock
from lib.errors import BadInputError, CannotStartError
from lib.process.heartbeat import PROGRAM_VARIABLE
from lib.process.log_events import TAPE, PreparingFailed, log_event
from lib.process.process_handle import ProcessHandle
from lib.process.run_identity import SUPERVISED_VARIABLE, Run
from lib.process.supervisor import (
    SERVER_VARIABLE,
    Supervisor,
    SupervisorEndingError,
    SupervisorSilentError,
    control_socket,
)
from lib.settings import PROJECT_ROOT
from lib.tapes.recipe import Recipe
from lib.tapes.store import Prepared, Refused, TapeStore

LOOK_NS: Final = 20 * MILLISECOND_NS
"""How often to look whether the process has ended."""
END_S: Final = 1.0
"""How long a child may take to end when it is asked to."""
MAX_TRIES: Final = 3
"""How often a process is started that ends without a result: it may have been killed."""


class TapePreparation:
    """Opens the tapes of some recipes, after it has had them prepared. A `Timed` of its loop.

    For one thread. `look` until it returns True; then `opened` has all tapes.
    """

    def __init__(
        self,
        store: TapeStore,
        recipes: Collection[Recipe],
        played: Collection[str],
        run: Run,
        clock: Clock,
    ) -> None:
        """Open the tapes `played` in this run, by name, whatever became of their files."""
        self._store = store
        self._run = run
        self._clock = clock
        self._tries = 0
        self._process: ProcessHandle | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self.opened: dict[Recipe, Prepared] = {}
        self._missing: list[Recipe] = []
        for recipe in recipes:
            for name in played:
                if prepared := store.open(recipe, name):
                    self.opened[recipe] = prepared
            if recipe not in self.opened:
                self._missing.append(recipe)

    def next_deadline_ns(self) -> int | None:
        """When to look, None once all tapes are open."""
        return self._clock() + LOOK_NS if self._missing else None

    def on_time(self, _now_ns: int) -> None:
        """A pass of the loop was due, in which its owner looks."""

    def look(self) -> bool:
        """Open what is prepared, and start a process if something is not; return whether all is.

        Raises BadInputError if a tape cannot be played, and CannotStartError if it is not known
        why there is none.
        """
        if self._process and not self._process.has_ended():
            return False
        self._forget_process()
        for recipe in list(self._missing):
            found = self._store.find(recipe)
            if isinstance(found, Refused):
                self._raise_if_it_counts(found)
            elif found:
                self.opened[recipe] = found
                self._missing.remove(recipe)
        if self._missing:
            self._try()
        return not self._missing

    def close(self) -> None:
        """End a process of ours."""
        if self._child:
            self._child.terminate()
            try:
                self._child.wait(END_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._forget_process()

    def _raise_if_it_counts(self, refused: Refused) -> None:
        """Raise what a refusal means, unless it may be over: of another run, or of a full disk."""
        if self._tries or (refused.lasts and refused.run == self._run):
            raise (BadInputError if refused.lasts else CannotStartError)(refused.reason)

    def _try(self) -> None:
        if self._tries:
            log_event(structlog.get_logger(), PreparingFailed(tries=self._tries, of=MAX_TRIES))
        if self._tries == MAX_TRIES:
            raise CannotStartError(
                f"no tape could be prepared: the program {TAPE} has ended {MAX_TRIES} times "
                f"without a result; the end of its log, {TAPE}.jsonl, may say why"
            )
        try:
            pid = _start_by_supervisord()
        except SupervisorEndingError:  # this process will be stopped, too
            return
        if pid is None:
            self._child = _start_child()
            pid = self._child.pid
        self._tries += 1
        with suppress(ProcessLookupError):  # it has ended already
            self._process = ProcessHandle(pid)

    def _forget_process(self) -> None:
        if self._process:
            self._process.close()
            self._process = None
        if self._child:
            self._child.wait()
            self._child = None


def _start_by_supervisord() -> int | None:
    """Start the program; return its pid, 0 if it has ended, None if supervisord cannot start it.

    Raises SupervisorEndingError.
    """
    socket_path = control_socket(os.environ.get(SERVER_VARIABLE, ""))
    if socket_path is None:
        return None
    supervisor = Supervisor(socket_path)
    try:
        with suppress(SupervisorSilentError):  # it runs already, or there is no such program
            supervisor.start(TAPE)
        return next((one.pid for one in supervisor.processes() if one.program == TAPE), None)
    except SupervisorSilentError:
        return None


def _start_child() -> subprocess.Popen[bytes]:
    """Start the process as a child that ends with this one. Raises CannotStartError."""
    # With a parent, it ends when the parent dies; without a program's name, it does not beat.
    environment = os.environ | {SUPERVISED_VARIABLE: "1"}
    for variable in (PROGRAM_VARIABLE, SERVER_VARIABLE):
        environment.pop(variable, None)
    try:
        return subprocess.Popen(
            [sys.executable, "-X", "utf8", "-m", f"daemons.{TAPE}"],
            cwd=PROJECT_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise CannotStartError(f"cannot start the program {TAPE}: {error.strerror}") from None
