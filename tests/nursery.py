"""An order manager that can be started hundreds of times in a minute, and killed as often.

An interpreter takes a third of a second to start and to import. So there is one process that has
imported the order manager, the nursery: it forks one at a time, on command, and it sends the
signals, because it has nothing else to do and so is on time. The order manager itself is the
ordinary role in every respect.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from daemons.order_manager import OrderManager
from lib.process.role import run_role
from lib.process.run_identity import SUPERVISED_VARIABLE, end_with_parent
from tests.helpers import DEADLINE_S, PROJECT_ROOT
from tests.stack import PrivateStack


class Nursery:
    """The test's side: starts the order manager of a stack, and signals to it."""

    def __init__(self, stack: PrivateStack) -> None:
        stack.log_dir.mkdir(parents=True)
        self._errors = stack.directory / "nursery.err"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery", stack.log_dir],
                cwd=PROJECT_ROOT,
                # So that the nursery ends with the test, and the order manager with the nursery.
                env={**stack.environment, SUPERVISED_VARIABLE: "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )

    def start(self) -> None:
        """Start the order manager, which must have ended."""
        self._tell("start")

    def signal(self, number: signal.Signals, delay_s: float = 0.0) -> None:
        """Send it a signal that ends it, so much later. There will be an answer."""
        self._tell(f"{number:d} {delay_s}")

    def fileno(self) -> int:
        """Readable when there is an answer."""
        assert self._process.stdout
        return self._process.stdout.fileno()

    def answer(self) -> str:
        """Its exit code, negative for a signal."""
        assert self._process.stdout
        answer = self._process.stdout.readline().decode().strip()
        assert answer, f"the nursery has ended: {self._errors.read_text()}"
        return answer

    def close(self) -> None:
        """End the order manager if there is one, and the nursery."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def _tell(self, command: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{command}\n".encode())


def main(log_dir: Path) -> None:
    """The nursery: obey commands until there are no more."""
    end_with_parent()
    pid = None
    for command in sys.stdin:
        if command == "start\n":
            pid = os.fork()
            if pid == 0:
                run_order_manager(log_dir)
            continue
        assert pid
        number, delay_s = command.split()
        time.sleep(float(delay_s))
        os.kill(pid, int(number))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        pid = None
    if pid:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def run_order_manager(log_dir: Path) -> NoReturn:
    """The child: be what supervisord would have started."""
    for fd, name in ((1, "order_manager.out"), (2, "order_manager.jsonl")):
        file = os.open(log_dir / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, fd)
        os.close(file)
    run_role("order_manager", OrderManager)


if __name__ == "__main__":
    main(Path(sys.argv.pop()))  # run_role reads what a role is given
