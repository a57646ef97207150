"""Questions to supervisord: a real one with trivial programs, and others that answer badly."""

from __future__ import annotations

import os
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lib.process.supervisor import (
    Process,
    Supervisor,
    SupervisorEndingError,
    SupervisorSilentError,
    control_socket,
)
from tests.helpers import wait_until

CONFIGURATION = """
[unix_http_server]
file=%(here)s/s.sock
[supervisord]
logfile=%(here)s/s.log
pidfile=%(here)s/s.pid
childlogdir=%(here)s
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:sleeper]
command=sleep 600
startsecs=0
; It does not end by this: a shutdown takes as long as a test wants.
stopsignal=CONT
stopwaitsecs=600
stdout_logfile=%(here)s/sleeper.out
stderr_logfile=%(here)s/sleeper.jsonl
[program:missing]
command=/nonexistent/program "with a space"
startretries=0
stdout_logfile=NONE
stderr_logfile=NONE
[program:by_hand]
command=sleep 1
autostart=false
stdout_logfile=NONE
stderr_logfile=NONE
"""


class Supervisord:
    """A private supervisord, and the one process it runs."""

    def __init__(self, directory: Path) -> None:
        (directory / "s.conf").write_text(CONFIGURATION)
        self.socket = directory / "s.sock"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", directory / "s.conf"],
            stdout=subprocess.DEVNULL,
        )
        self.supervisor = Supervisor(self.socket)
        wait_until(lambda: "RUNNING" in self.states(), "supervisord and its sleeper run")
        self.sleeper = self.supervisor.processes()[-1].pid

    def states(self) -> list[str]:
        try:
            return [p.state for p in self.supervisor.processes()]
        except SupervisorSilentError:
            return []

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.kill(self.sleeper, signal.SIGKILL)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path, for the socket."""
    with tempfile.TemporaryDirectory(prefix="tw-") as name:
        yield Path(name)


@pytest.fixture
def supervisord(directory: Path) -> Iterator[Supervisord]:
    with closing(Supervisord(directory)) as supervisord:
        yield supervisord


def test_every_program_is_returned_with_its_state_its_pid_and_what_is_wrong(supervisord):
    wait_until(lambda: "FATAL" in supervisord.states(), "the missing program is given up")
    at = supervisord.socket.parent / "sleeper"
    assert supervisord.supervisor.processes() == [
        Process("by_hand", "STOPPED", 0),
        Process("missing", "FATAL", 0, "can't find command '/nonexistent/program'"),
        Process("sleeper", "RUNNING", supervisord.sleeper, "", (f"{at}.out", f"{at}.jsonl")),
    ]
    assert Path(f"/proc/{supervisord.sleeper}/cmdline").read_bytes() == b"sleep\x00600\x00"
    assert supervisord.supervisor.pid() == supervisord.process.pid


def test_of_the_programs_that_start_with_it_the_commands_are_returned(supervisord):
    assert supervisord.supervisor.commands() == {
        "missing": '/nonexistent/program "with a space"',
        "sleeper": "sleep 600",
    }


def test_a_supervisord_that_stops_everything_says_only_that(supervisord):
    supervisord.process.terminate()
    with pytest.raises(SupervisorEndingError):
        wait_until(lambda: not supervisord.supervisor.processes(), "it says so")
    assert supervisord.process.poll() is None


def test_a_supervisord_that_is_frozen_is_not_waited_for_for_ever(supervisord):
    supervisord.process.send_signal(signal.SIGSTOP)
    with pytest.raises(SupervisorSilentError, match="timed out"):
        Supervisor(supervisord.socket, answer_s=0.05).processes()


HTTP = b"HTTP/1.1 200 OK\r\n\r\n"
XML = b"<methodResponse><params><param><value>%s</value></param></params></methodResponse>"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 401 Unauthorized\r\n\r\nError 401",
        HTTP + b"no XML",
        HTTP + XML % b"<int>1</int>",
        HTTP + XML % b"<array><data><value><struct></struct></value></data></array>",
        HTTP + b"<fault><value><string>odd</string></value></fault>",
    ],
)
def test_an_answer_of_another_kind_is_no_answer(directory, answer):
    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.wfile.write(answer)

    with socketserver.UnixStreamServer(str(directory / "s.sock"), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(SupervisorSilentError):
            Supervisor(directory / "s.sock").processes()
        thread.join()


def test_the_control_socket_is_found_in_what_supervisord_tells_its_children():
    assert control_socket("unix:///a b/supervisor.sock") == Path("/a b/supervisor.sock")
    assert control_socket("http://127.0.0.1:9001") is None
