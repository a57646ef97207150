"""A stack where the machine gives it little: limits, locale, environment, closed streams, PID 1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from lib.net.host import SYSTEM
from lib.process.run_identity import children_of
from lib.stack.start_checks import MIN_OPEN_FILES
from tests.helpers import wait_until
from tests.processes import IN_NAMESPACES, needs_namespaces
from tests.stack import PrivateStack, copy_project


def start(command: str, stack: PrivateStack, **environment: str) -> subprocess.Popen[bytes]:
    """Run main.py of this stack by a shell's command, with only this environment."""
    main = (sys.executable, stack.project / "main.py")
    return subprocess.Popen(
        ["sh", "-c", command, *main, "--config", stack.config, "--var-dir", stack.var_dir],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", **environment},
    )


def first_bytes(address: str, port: int) -> bytes:
    with socket.create_connection((address, port), timeout=60) as client:
        return client.recv(1)


def test_a_bare_environment_is_enough_and_localhost_is_both_addresses(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "né", lambda _: None)
    hosts = {section: {"host": "localhost"} for section in ("gateway", "order_manager")}
    with PrivateStack(hosts, project=project) as stack:
        main = start(
            f'ulimit -n {MIN_OPEN_FILES}; exec "$0" "$@" <&- >&- 2>&-',
            stack,
            LC_ALL="C",
            PYTHONUTF8="0",
            PYTHONSAFEPATH="1",
        )
        try:
            wait_until(lambda: stack.output("order_manager"), "an order is printed")
            for address in SYSTEM.addresses("localhost"):
                for port in (stack.price_port, stack.news_port):
                    assert first_bytes(address, port)
                with socket.create_connection((address, stack.order_port)) as client:
                    client.sendall(b"?*")
                    assert client.recv(1)
            few = stack.wait_for_event("gateway", "few_descriptors")
            assert few["limit"] == MIN_OPEN_FILES
            assert 0 < few["places"] < few["of"]
        finally:
            main.terminate()
            assert main.wait(60) == 0


@needs_namespaces
def test_as_pid_1_it_reaps_orphans_ends_on_sigterm_and_leaves_nothing(stack: PrivateStack) -> None:
    """As in a container."""
    unshare = start(f'exec {" ".join(IN_NAMESPACES)} "$0" "$@"', stack)
    stack.wait_for_event("strategy", "evaluation_started")
    (pid_1,) = children_of(unshare.pid)
    try:
        before = set(children_of(pid_1))
        enter = ("nsenter", "--target", str(pid_1), "--pid", "--mount")
        subprocess.run([*enter, "sh", "-c", "sleep 300 & "], check=True)
        (orphan,) = wait_until(lambda: set(children_of(pid_1)) - before, "PID 1 adopts it")
        os.kill(orphan, signal.SIGKILL)
        wait_until(lambda: orphan not in children_of(pid_1), "PID 1 reaps it")
        assert before <= set(children_of(pid_1))
    finally:
        os.kill(pid_1, signal.SIGTERM)
        assert unshare.wait(60) == 0
    assert stack.processes() == []
    assert stack.segments() == []
