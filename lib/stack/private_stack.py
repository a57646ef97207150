"""A private stack beside any other: for experiments and measurements.

It is `main.py` with settings that share no port, no name and no directory with another stack, in a
directory that holds all its files. The roles, and the supervisord that runs them, are those of any
stack. It ends with the program that started it, however that ends, and its files stay until
`remove_files`, so that a failure can be examined.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from configparser import RawConfigParser
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from lib.process.own_files import read_own
from lib.settings import PROJECT_ROOT, Settings
from lib.stack.launch import wake_supervisord
from lib.stack.supervisord_configuration import (
    configuration_text,
    parse_configuration,
    stop_limit_s,
)

START_S: Final = 20.0
"""How long supervisord may take to listen."""
STOP_S: Final = 30.0
"""How long the rest of a stack may take to end after its supervisord was killed."""
END_S: Final = 10.0
"""How much longer `main.py` may take to end than it allows supervisord (`stop_limit_s`)."""
CONTROL_S: Final = 30.0
"""How long supervisorctl may take, to stop and start the programs whose configuration has changed
for example."""
LOOK_S: Final = 0.05
PRIVATE: Final = "private-"
"""The prefix of the directory of a private stack."""
CONFIG: Final = "trading.toml"
"""The settings file in the directory of a private stack."""
OUTPUT: Final = "main.out"
"""The file in that directory with the output of `main.py`."""


class PrivateStackError(Exception):
    """A private stack does not start, or not as it should (one human-readable line)."""


class PrivateStack:
    """A stack of our own, in `directory`. Leaving the `with` block ends it. For one thread."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        project: Path = PROJECT_ROOT,
        programs: str = "etc/supervisord.conf",
    ) -> None:
        """Write the settings, which are private (`private_settings`). `start` starts it.

        `project` may be a copy with another configuration of its `programs`. Raises OSError.
        """
        self.directory = directory
        self._programs = programs
        self.project = project
        self.config = directory / CONFIG
        self.var_dir = settings.var_dir
        self._main: subprocess.Popen[bytes] | None = None
        self._output = threading.Thread()
        self.write_settings(settings)

    def write_settings(self, settings: Settings) -> None:
        """Change the settings. A role uses them from its next start on."""
        self.settings = settings
        self.config.write_text(to_toml(settings), encoding="utf-8")

    @property
    def command(self) -> list[str]:
        """What starts the stack."""
        programs = self.project / self._programs
        arguments = ("--config", self.config, "--programs", programs)
        return [str(word) for word in (sys.executable, self.project / "main.py", *arguments)]

    def start(self) -> subprocess.Popen[bytes]:
        """Start `main.py`, which must not be running; return its process."""
        environment = {key: value for key, value in os.environ.items() if key != "TRADING_VAR_DIR"}
        self._main = main = subprocess.Popen(
            self.command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only this process, which then ends it
        )
        # It ends when its output has no reader any more: so it does not outlive us, however we end.
        arguments = (main, self.directory / OUTPUT)
        self._output = threading.Thread(target=_copy_output, args=arguments, daemon=True)
        self._output.start()
        return main

    @property
    def main(self) -> subprocess.Popen[bytes]:
        """The process of `main.py`, once it was started."""
        assert self._main
        return self._main

    def wait_until_it_listens(self) -> None:
        """Wait for supervisord. Raises PrivateStackError with the last line of `main.py`."""
        if comes_to_listen(self.var_dir, self.main):
            return
        said = self.said()
        reason = said[-1] if said else "main.py says nothing"
        raise PrivateStackError(f"no private stack can be started: {reason}")

    def said(self) -> list[str]:
        """Return the lines that `main.py` has printed; once it has ended, all of them."""
        if self.main.poll() is not None:
            self._output.join(END_S)
        with suppress(FileNotFoundError):  # it has not printed anything yet
            return (self.directory / OUTPUT).read_text(errors="replace").strip().splitlines()
        return []

    def reconfigure(self, change: Callable[[RawConfigParser], None]) -> None:
        """Change the configuration of its supervisord, which restarts the affected programs.

        `change` changes the parsed configuration. Raises PrivateStackError.
        """
        configuration = self.var_dir / "supervisord.conf"
        parser = parse_configuration(configuration.read_text(encoding="utf-8"))
        change(parser)
        configuration.write_text(configuration_text(parser), encoding="utf-8")
        result = self._supervisorctl("update")
        if result.returncode != 0:
            said = (result.stdout + result.stderr).strip()
            raise PrivateStackError(f"supervisorctl update: {said}")

    def _supervisorctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run supervisorctl on this stack. Raises PrivateStackError if it takes too long."""
        program = (sys.executable, "-m", "supervisor.supervisorctl")
        try:
            return subprocess.run(
                [*program, "-c", self.var_dir / "supervisord.conf", *arguments],
                capture_output=True,
                text=True,
                timeout=CONTROL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            said = " ".join(arguments)
            raise PrivateStackError(f"supervisorctl {said} takes over {CONTROL_S:g} s") from None

    def end(self) -> None:
        """End the stack. May be called again."""
        if self._main is None or self._main.poll() is not None:
            return
        self.main.send_signal(signal.SIGINT)
        try:
            self.main.wait(self._stop_limit_s() + END_S)
        except subprocess.TimeoutExpired:
            self.main.kill()  # the kernel then signals supervisord, and the roles after it
            self.main.wait()
        self._output.join(END_S)

    def _stop_limit_s(self) -> float:
        configuration = ""  # main.py may not have written it yet
        with suppress(OSError):
            configuration = read_own(self.var_dir / "supervisord.conf").decode()
        return stop_limit_s(configuration)

    def remove_files(self) -> None:
        """Remove the files of a stack that has ended."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()


def start_private_stack(settings: Settings, parent: Path, book_prefix: str) -> PrivateStack:
    """Start a stack with these settings, but with ports, names and directories of its own.

    Its directory is made in `parent`, and the name of its price book begins with `book_prefix`.
    Returns when supervisord listens. Raises PrivateStackError, and then leaves nothing behind.
    """
    with ExitStack() as undo:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            directory = Path(tempfile.mkdtemp(prefix=PRIVATE, dir=parent))
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
            settings = private_settings(settings, directory, book_prefix)
            stack = PrivateStack(settings, directory)
            stack.start()
        except OSError as error:
            where = f"{error.filename or directory}: {error.strerror}"
            raise PrivateStackError(f"no private stack can be started: {where}") from None
        undo.callback(stack.end)
        stack.wait_until_it_listens()
        undo.pop_all()
    return stack


def private_settings(settings: Settings, directory: Path, book_prefix: str) -> Settings:
    """Return the same settings with unused ports and with names and directories of their own.

    Without a token: the clients of a private stack are of its user, and there for minutes. Without
    a loss limit: no person is there to lift it. Without alerts: what happens in it calls no one.
    """
    price_port, news_port, order_port, dashboard_port = free_ports(4)
    replace = msgspec.structs.replace
    return replace(
        settings,
        var_dir=directory / "var",
        gateway=replace(settings.gateway, price_port=price_port, news_port=news_port),
        price_book=replace(settings.price_book, name=f"{book_prefix}{directory.name}"),
        order_manager=replace(settings.order_manager, port=order_port, token_file=None),
        risk=replace(settings.risk, max_loss=0.0),
        dashboard=replace(settings.dashboard, port=dashboard_port),
        alerts=replace(settings.alerts, command=""),
    )


def to_toml(settings: Settings) -> str:
    """Write settings as a settings file."""
    return tables_to_toml(settings_tables(settings))


def settings_tables(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the tables of the settings file, "" for the keys before the first table."""
    tables = msgspec.to_builtins(settings, enc_hook=str)
    for name, keys in tables.pop("strategies").items():
        tables[f"strategies.{json.dumps(name)}"] = keys
    if tables["cluster"] is None:  # a table that is left out
        del tables["cluster"]
    sections = {key: value for key, value in tables.items() if isinstance(value, dict)}
    return {"": {key: tables[key] for key in tables.keys() - sections.keys()}, **sections}


def tables_to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Write tables as a settings file. JSON's strings, numbers and lists are TOML's too."""
    lines = []
    for name in sorted(tables, key=bool):  # "" comes first
        lines += [f"[{name}]"] if name else []
        lines += [f"{k} = {json.dumps('' if v is None else v)}" for k, v in tables[name].items()]
    return "\n".join(lines) + "\n"


def free_ports(count: int) -> list[int]:
    """Return ports that are unused at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def comes_to_listen(var_dir: Path, starter: subprocess.Popen[bytes]) -> bool:
    """Wait for a supervisord; False if its starter fails, or takes longer than `START_S`."""
    deadline_s = time.monotonic() + START_S
    while not wake_supervisord(var_dir):
        if starter.poll() is not None or time.monotonic() > deadline_s:
            return False
        time.sleep(LOOK_S)
    return True


def _copy_output(main: subprocess.Popen[bytes], path: Path) -> None:
    assert main.stdout
    with path.open("ab", buffering=0) as file:
        while data := os.read(main.stdout.fileno(), 4096):
            file.write(data)
