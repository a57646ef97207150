"""A cluster on this machine: three brokers and four hosts, each in a directory of its own.

A host is a private stack with the programs of its kind. Its `main.py` shows nothing here: what it
would show is read from the host's logs, with the host's name before it.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec

from lib.errors import CannotStartError
from lib.settings import ClusterSettings, Settings
from lib.stack.brokers import Brokers
from lib.stack.launch import check_that_no_stack_runs
from lib.stack.log_follower import ERROR, NOTICE, WARNING, LogFollower, ScreenLine
from lib.stack.private_stack import PrivateStack, private_settings

RESTART_S: Final = 2.0
"""How long a broker that has ended stays down."""

BROKERS: Final = "brokers"
"""The directory of the brokers."""


class LabHost(NamedTuple):
    """A host of the cluster: its name, its kind, and its user at the brokers."""

    name: str
    kind: str
    """The programs are in `etc/cluster/KIND.conf`."""
    user: str


HOSTS: Final = (
    LabHost("market-1", "market", "market"),
    LabHost("strategy-1", "strategy", "strategy-1"),
    LabHost("order-1", "order", "order"),
    LabHost("order-2", "order", "order"),
)


class ClusterLab:
    """The cluster in `directory`. Leaving the `with` block ends it. For one thread."""

    def __init__(
        self, settings: Settings, directory: Path, hosts: tuple[LabHost, ...] = HOSTS
    ) -> None:
        """Write what the brokers and the hosts need; `settings` are those of every host.

        What an earlier cluster has left there goes on. Raises CannotStartError, and OSError.
        """
        for host in hosts:
            check_that_no_stack_runs(directory / host.name / "var")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        clients = [one.client_id for one in settings.all_strategies().values()]
        self.brokers = Brokers(directory / BROKERS, client_ids=clients)
        book_prefix = f"tradewire-{secrets.token_hex(3)}-"
        self.stacks = {host: self._stack(settings, host, book_prefix) for host in hosts}
        self._followers: dict[LabHost, LogFollower] = {}
        self._restart_s: dict[str, float] = {}
        """When brokers that have ended are started again."""
        self._gone: set[LabHost] = set()

    def start(self) -> None:
        """Start the brokers, then the hosts. Raises CannotStartError and PrivateStackError."""
        self.brokers.start()
        for host, stack in self.stacks.items():
            self._followers[host] = LogFollower(stack.var_dir)
            stack.start()
        for stack in self.stacks.values():
            stack.wait_until_it_listens()

    def look(self) -> list[ScreenLine]:
        """Return what is to be shown since the last look; start brokers again that have ended."""
        lines = [*self._look_after_brokers(), *self._look_after_hosts()]
        for host, follower in self._followers.items():
            for line in follower.new_lines():
                lines.append(line._replace(role=f"{host.name} {line.role}"))
        return lines

    def end(self) -> None:
        """End the hosts, then the brokers. May be called again."""
        for stack in self.stacks.values():  # all at once; what follows waits for each
            with suppress(AssertionError):  # it was not started
                if stack.main.poll() is None:
                    stack.main.send_signal(signal.SIGINT)
        for stack in self.stacks.values():
            stack.end()
        self.brokers.end()

    def last_look(self) -> list[ScreenLine]:
        """Return the rest of what is to be shown, after the end."""
        lines = []
        for host, follower in self._followers.items():
            for line in (*follower.new_lines(), *follower.rest()):
                lines.append(line._replace(role=f"{host.name} {line.role}"))
            follower.close()
        return lines

    def remove_files(self) -> None:
        """Remove all that the cluster has written, and the directory if that was all."""
        for stack in self.stacks.values():
            stack.remove_files()
        shutil.rmtree(self.brokers.directory, ignore_errors=True)
        with suppress(OSError):
            self.directory.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _stack(self, settings: Settings, host: LabHost, book_prefix: str) -> PrivateStack:
        directory = self.directory / host.name
        directory.mkdir(exist_ok=True)
        private = private_settings(settings, directory, book_prefix)
        cluster = ClusterSettings(
            servers=self.brokers.urls,
            host=host.name,
            credentials=self.brokers.credentials(host.user),
        )
        private = msgspec.structs.replace(private, cluster=cluster)
        return PrivateStack(private, directory, programs=f"etc/cluster/{host.kind}.conf")

    def _look_after_brokers(self) -> list[ScreenLine]:
        lines, now_s = [], time.monotonic()
        for name, process in self.brokers.processes.items():
            code = process.poll()
            if code is None:
                continue
            if name not in self._restart_s:
                self._restart_s[name] = now_s + RESTART_S
                text = f"ended by itself ({_how(code)})"
                lines.append(ScreenLine(f"broker {name}", text, WARNING))
            elif now_s >= self._restart_s[name]:
                del self._restart_s[name]
                lines.append(self._restart(name))
        return lines

    def _restart(self, name: str) -> ScreenLine:
        role = f"broker {name}"
        try:
            self.brokers.start(name)
        except CannotStartError as error:  # it is tried again
            return ScreenLine(role, str(error), ERROR)
        return ScreenLine(role, f"started again pid={self.brokers.processes[name].pid}", NOTICE)

    def _look_after_hosts(self) -> list[ScreenLine]:
        lines = []
        for host, stack in self.stacks.items():
            if stack.main.poll() is None or host in self._gone:
                continue
            self._gone.add(host)
            said = stack.said()
            reason = f": {said[-1]}" if said else ""
            again = shlex.join(stack.command)
            text = f"the host has ended ({_how(stack.main.poll())}){reason}; to start it: {again}"
            lines.append(ScreenLine(host.name, text, ERROR))
        return lines


def _how(code: int | None) -> str:
    return f"signal {-code}" if code and code < 0 else f"exit code {code}"
