"""What supervisord says of its programs: XML-RPC over its control socket, as supervisorctl does it.

Whoever asks also wakes supervisord: it starts and reaps its children when its loop comes round,
which is once a second unless something like a connection wakes it (`lib.stack.wake_supervisord`).
Reaping and starting take a turn each, and a question with its answer takes about four.

(`supervisor.xmlrpc` can ask too, without a time limit, and its import costs 27 ms and 4 MB more.)
"""

from __future__ import annotations

import socket
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.parsers.expat import ExpatError
from xmlrpc.client import Fault, ResponseError, dumps, loads

SERVER_VARIABLE: Final = "SUPERVISOR_SERVER_URL"
"""supervisord sets it in the environment of every process it starts."""
ANSWER_S: Final = 1.0
"""The longest wait for each piece of an answer."""
MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Some thousand programs."""

_PREFIX: Final = "unix://"
_SHUTDOWN_STATE: Final = 6
"""supervisor.xmlrpc.Faults: it is about to end, or to read its configuration anew."""

_OTHER_KIND: Final = (HTTPException, ExpatError, ResponseError, KeyError, TypeError, ValueError)
"""What comes of an answer that is not supervisord's."""


class SupervisorSilentError(Exception):
    """supervisord does not answer, or not as it should (one line for people)."""


class SupervisorEndingError(Exception):
    """supervisord is stopping everything, and says nothing more of its programs."""


class Process(NamedTuple):
    """One program as supervisord sees it. `state` is its word for it, such as "RUNNING"."""

    program: str
    state: str
    pid: int
    """0 where it does not run."""
    problem: str = ""
    """Why its last start failed, if it did."""


class Supervisor:
    """The supervisord behind one control socket. Each question is a connection of its own."""

    def __init__(self, control_socket: Path) -> None:
        self._control_socket = control_socket

    def processes(self) -> list[Process]:
        """All programs. Raises SupervisorSilentError or SupervisorEndingError."""
        try:
            infos = self._ask("supervisor.getAllProcessInfo")
            return [
                Process(info["name"], info["statename"], info["pid"], info["spawnerr"])
                for info in infos
            ]
        except Fault as fault:
            if fault.faultCode == _SHUTDOWN_STATE:
                raise SupervisorEndingError from None
            raise SupervisorSilentError(fault.faultString) from None
        except OSError as error:
            raise SupervisorSilentError(error.strerror or str(error)) from None
        except _OTHER_KIND as error:
            raise SupervisorSilentError(f"its answer is of another kind: {error!r}") from None

    def _ask(self, method: str) -> Any:
        with closing(_UnixConnection(self._control_socket)) as connection:
            connection.request("POST", "/RPC2", dumps((), method), {"Content-Type": "text/xml"})
            (answer,), _ = loads(connection.getresponse().read(MAX_ANSWER_BYTES))
        return answer


def control_socket(server_url: str) -> Path | None:
    """The path in what SERVER_VARIABLE holds; None if it names no Unix socket."""
    return Path(server_url.removeprefix(_PREFIX)) if server_url.startswith(_PREFIX) else None


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("supervisord")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(str(self._path))
