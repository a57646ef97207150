"""A client of supervisord: XML-RPC over its control socket, as supervisorctl does it.

A request also wakes supervisord: it starts and reaps its children in its loop, which turns once a
second unless something like a connection wakes it (`lib.stack.launch.wake_supervisord`). Reaping
and starting take a turn each, and a request with its answer takes about four.

(`supervisor.xmlrpc` can ask too, without a time limit, and its import costs 27 ms and 4 MB more.)
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.parsers.expat import ExpatError
from xmlrpc.client import Fault, ResponseError, dumps, loads

SERVER_VARIABLE: Final = "SUPERVISOR_SERVER_URL"
"""supervisord sets it in the environment of every process it starts."""
ANSWER_S: Final = 1.0
"""The default of the longest wait for each piece of an answer."""
ACT_S: Final = 10.0
"""The longest wait for a program to start or to stop: longer than startsecs and stopwaitsecs."""
MAX_ANSWER_BYTES: Final = 1024 * 1024
"""The longest answer that is read: enough for some thousand programs."""

_PREFIX: Final = "unix://"
_SHUTDOWN_STATE: Final = 6
"""The fault (supervisor.xmlrpc.Faults) of a supervisord that is ending or reloading."""

_OTHER_KIND: Final = (HTTPException, ExpatError, ResponseError, KeyError, TypeError, ValueError)
"""What reading an answer raises that is not supervisord's."""


class SupervisorSilentError(Exception):
    """supervisord does not answer, or not as it should. The text says why, on one line."""


class SupervisorEndingError(Exception):
    """supervisord is stopping everything, and no longer answers about its programs."""


class Process(NamedTuple):
    """One program as supervisord reports it. `state` is its statename, such as "RUNNING"."""

    program: str
    state: str
    pid: int
    """0 if it does not run."""
    problem: str = ""
    """Why its last start failed, if it did."""
    logs: tuple[str, ...] = ()
    """The paths of the logs that supervisord writes for it."""


class Supervisor:
    """The supervisord behind one control socket. Each request is a connection of its own."""

    def __init__(self, control_socket: Path, answer_s: float = ANSWER_S) -> None:
        """`answer_s` is the longest wait for each piece of an answer."""
        self._control_socket = control_socket
        self._answer_s = answer_s

    def processes(self) -> list[Process]:
        """Return all programs. Raises SupervisorSilentError or SupervisorEndingError."""
        with _mapped_errors():
            return [
                Process(
                    info["name"],
                    info["statename"],
                    info["pid"],
                    info["spawnerr"],
                    tuple(filter(None, (info["stdout_logfile"], info["stderr_logfile"]))),
                )
                for info in self._ask("supervisor.getAllProcessInfo", limit_s=self._answer_s)
            ]

    def commands(self) -> dict[str, str]:
        """Return the command of each program that starts with supervisord, by program.

        Raises as `processes` does.
        """
        with _mapped_errors():
            found = self._ask("supervisor.getAllConfigInfo", limit_s=self._answer_s)
            return {info["name"]: info["command"] for info in found if info["autostart"]}

    def pid(self) -> int:
        """Return supervisord's own pid. Raises as `processes` does."""
        with _mapped_errors():
            return int(self._ask("supervisor.getPID", limit_s=self._answer_s))

    def start(self, program: str, *, wait: bool = True) -> None:
        """Start a program; returns when it has started, if it waits. Raises as `processes` does."""
        with _mapped_errors():
            limit_s = ACT_S if wait else self._answer_s
            self._ask("supervisor.startProcess", program, wait, limit_s=limit_s)

    def stop(self, program: str, *, wait: bool = True) -> None:
        """Stop a program; returns when it has ended, if it waits. Raises as `processes` does."""
        with _mapped_errors():
            limit_s = ACT_S if wait else self._answer_s
            self._ask("supervisor.stopProcess", program, wait, limit_s=limit_s)

    def _ask(self, method: str, *arguments: str | bool, limit_s: float) -> Any:
        with closing(_UnixConnection(self._control_socket, limit_s)) as connection:
            question = dumps(arguments, method)
            connection.request("POST", "/RPC2", question, {"Content-Type": "text/xml"})
            (answer,), _ = loads(connection.getresponse().read(MAX_ANSWER_BYTES))
        return answer


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """Turn any failure of a request into SupervisorSilentError or SupervisorEndingError."""
    try:
        yield
    except Fault as fault:
        if fault.faultCode == _SHUTDOWN_STATE:
            raise SupervisorEndingError from None
        raise SupervisorSilentError(fault.faultString) from None
    except OSError as error:
        raise SupervisorSilentError(error.strerror or str(error)) from None
    except _OTHER_KIND as error:
        raise SupervisorSilentError(f"its answer is of another kind: {error!r}") from None


def control_socket(server_url: str) -> Path | None:
    """Return the path in the value of SERVER_VARIABLE; None if it names no Unix socket."""
    return Path(server_url.removeprefix(_PREFIX)) if server_url.startswith(_PREFIX) else None


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, limit_s: float) -> None:
        super().__init__("supervisord")
        self._path = path
        self._limit_s = limit_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._limit_s)
        self.sock.connect(str(self._path))
