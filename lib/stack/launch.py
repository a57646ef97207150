"""Checks, starts and ends one stack in one var directory, under one supervisord.

The var directory holds everything of a stack: logs, ledger, control socket, and the configuration
of its supervisord, which is generated from `etc/supervisord.conf`, the only one to edit.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Container
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from lib.errors import CannotStartError
from lib.execution.order_token import read_token
from lib.net.host import SYSTEM, address_text
from lib.price_book.clean_up import belongs_to_another_stack, live_owner
from lib.price_book.segment_files import SHM_DIR, PriceBookError, check_trusted
from lib.process.log_events import ORDER_MANAGER
from lib.process.own_files import adopt, make_own_directory, read_own, replaced
from lib.process.supervisord_files import (
    CONFIGURATION_NAME,
    PID_FILE_NAME,
    SOCKET_NAME,
    log_paths,
)
from lib.settings import MAX_SOCKET_PATH_BYTES, PROJECT_ROOT, Settings
from lib.stack.supervisord_configuration import CONFIGURATION, derive_configuration

MAX_CONTROL_SOCKET_BYTES: Final = MAX_SOCKET_PATH_BYTES - len(".4194304")
"""The longest path of the control socket: supervisord first binds it under a longer name, with a
dot and its process id (at most 7 digits) appended."""
SEGMENTS_S: Final = 2.0
"""How long the shared memory may take to be removed after the last role has ended."""
LOOK_S: Final = 0.02
MAX_REAPED_A_LOOK: Final = 64
"""How many orphans are reaped at once."""

_UNUSABLE_IN_PATHS: Final = re.compile(r'[%"\\]| [;#]')
"""Characters with a special meaning in supervisord's configuration."""
_SUPERVISORD_WORDS: Final = (b"supervisord", b"supervisor.supervisord")
"""The words of which one is in supervisord's command line, however it was started."""
_PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that a process gets when its parent dies."""


def check_paths(var_dir: Path) -> None:
    """Raise CannotStartError if supervisord could not work with the paths of this stack."""
    for path in (PROJECT_ROOT, var_dir):
        if _UNUSABLE_IN_PATHS.search(str(path)):
            raise CannotStartError(
                'supervisord cannot take a path with %, ", \\, " ;" or " #" in it: ' + str(path)
            )
    excess = len(os.fsencode(_control_socket(var_dir))) - MAX_CONTROL_SOCKET_BYTES
    if excess > 0:
        raise CannotStartError(
            f"the var directory's path is {excess} bytes too long for the control socket in it, "
            f"choose a shorter one (--var-dir): {var_dir}"
        )


def own_var_dir(var_dir: Path) -> None:
    """Make the var directory, or check it: what supervisord opens there must be ours alone.

    A FIFO in the place of one of its files would stop supervisord for ever, a link would lead it
    elsewhere. Call it before anything in the directory is read. Raises CannotStartError.
    """
    try:
        for directory in (var_dir, var_dir / "log"):
            make_own_directory(directory)
        names = (PID_FILE_NAME, CONFIGURATION_NAME)
        for path in (*log_paths(var_dir), *(var_dir / name for name in names)):
            with suppress(FileNotFoundError):
                adopt(path)
        with suppress(FileNotFoundError):
            adopt(var_dir / SOCKET_NAME, stat.S_IFSOCK)
    except OSError as error:
        hint = " (--var-dir chooses another directory)" if error.filename == str(var_dir) else ""
        raise CannotStartError(
            f"cannot use {error.filename or var_dir}: {error.strerror}{hint}"
        ) from None


def prepare_var_dir(
    var_dir: Path, original: str, left_out: Collection[str] = (), source: Path = CONFIGURATION
) -> Path:
    """Write the configuration into the var directory, which is ours; return its path.

    `original` is the text of `source`, and `left_out` are programs to leave out of it. Raises
    CannotStartError.
    """
    configuration = var_dir / CONFIGURATION_NAME
    derived = derive_configuration(original, source, left_out)
    try:
        with replaced(configuration) as file:
            file.write(derived.encode())
    except OSError as error:
        raise CannotStartError(f"cannot write {configuration}: {error.strerror}") from None
    return configuration


def check_that_no_stack_runs(var_dir: Path) -> None:
    """Raise CannotStartError if a supervisord runs in the var directory."""
    if wake_supervisord(var_dir) or _is_supervisord(var_dir / PID_FILE_NAME):
        raise CannotStartError(
            f"another stack runs in {var_dir}: stop it, or choose another directory (--var-dir)"
        )


def _is_supervisord(pid_file: Path) -> bool:
    """Return whether a pid file names a live supervisord, not a process that reuses its pid."""
    try:
        pid = int(read_own(pid_file))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return False
    return any(word.rpartition(b"/")[2] in _SUPERVISORD_WORDS for word in words)


def check_ports(settings: Settings, roles: Container[str]) -> None:
    """Raise CannotStartError, which names port and setting, if a role could not serve its port.

    Only the ports of `roles` are checked: a user's own feed serves those of a gateway that is not
    started.
    """
    gateway, order_manager = settings.gateway, settings.order_manager
    for key, host, port in (
        ("gateway.price_port", gateway.host, gateway.price_port),
        ("gateway.news_port", gateway.host, gateway.news_port),
        ("order_manager.port", order_manager.host, order_manager.port),
    ):
        if key.partition(".")[0] not in roles:
            continue
        for address in SYSTEM.addresses(host):
            try:
                _bind(address, port)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise CannotStartError(
                    f"cannot serve {address_text(address, port)}: {reason}; "
                    f"stop what uses it, or set {key} to another port"
                ) from None


def _bind(address: str, port: int) -> None:
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as server:
        # As the roles do: closing connections of an earlier stack do not matter.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(place)


def check_token_file(settings: Settings, roles: Container[str]) -> None:
    """Raise CannotStartError if one of `roles` is an order manager that could not use its token."""
    if settings.order_manager.token_file and ORDER_MANAGER in roles:
        read_token(settings.order_manager.token_file)


def check_price_book(settings: Settings) -> None:
    """Raise CannotStartError if the price book's name belongs to another stack that is running.

    Also if a file of that name belongs to another user, or may be written by one.
    """
    name = settings.price_book.name
    try:
        check_trusted(name)
        owner = live_owner(name)
        if owner is not None:
            raise belongs_to_another_stack(name, owner)
    except PriceBookError as error:
        raise CannotStartError(str(error)) from None


def ending_with_us() -> Callable[[], None]:
    """Return what a child calls before its program, so that the kernel ends it when we die.

    It gets SIGTERM, however we end.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    our_pid = os.getpid()

    def end_with_us() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != our_pid:  # the parent died before the prctl
            os._exit(0)

    return end_with_us


def start_supervisord(configuration: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start supervisord in a session of its own, so that Ctrl-C reaches this process only.

    Its log goes to its log file; `errors` gets its output when it cannot start at all. Raises
    CannotStartError.
    """
    try:
        return subprocess.Popen(
            [
                *(sys.executable, "-X", "utf8"),  # it reads the configuration in the locale's
                *("-m", "supervisor.supervisord", "-n", "-c", configuration),
            ],
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            preexec_fn=ending_with_us(),
        )
    except OSError as error:
        raise CannotStartError(f"cannot run supervisord: {error}") from None


def wake_supervisord(var_dir: Path) -> bool:
    """Connect to supervisord's control socket; return whether a supervisord listens there.

    supervisord acts on signals, and starts and reaps its children, in its loop, which turns once a
    second unless something wakes it, such as a connection.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(str(_control_socket(var_dir)))
        except BlockingIOError:  # its queue of connections is full: there is a listener
            return True
        except OSError:
            return False
    return True


def _control_socket(var_dir: Path) -> Path:
    return var_dir / SOCKET_NAME


def why_it_ended(exit_code: int, errors: IO[bytes]) -> str | None:
    """Return in a few words why supervisord ended; None if it was asked to."""
    if exit_code == 0:
        return None
    if exit_code < 0:
        return f"killed by signal {-exit_code} ({signal.strsignal(-exit_code)})"
    errors.seek(0)
    said = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    reason = next((line for line in said if line.startswith("Error: ")), said[-1] if said else "")
    return f"exit code {exit_code}: {reason or 'no reason given'}"


def reap_orphans(supervisord: subprocess.Popen[bytes]) -> None:
    """As the first process of a container, reap the processes whose parents have ended.

    supervisord is left to its own `poll`.
    """
    if os.getpid() != 1:
        return
    for _ in range(MAX_REAPED_A_LOOK):
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None or ended.si_pid == supervisord.pid:
            return
        os.waitpid(ended.si_pid, 0)


def wait_until_segments_are_gone(name: str) -> None:
    """Wait until the price book's clean-up has removed its segments, for a bounded time."""
    deadline_s = time.monotonic() + SEGMENTS_S
    while time.monotonic() < deadline_s:
        if not (SHM_DIR / name).exists() and not any(SHM_DIR.glob(f"{name}.*")):
            return
        time.sleep(LOOK_S)
