"""One stack in one var directory, under one supervisord: is there room for it, start it, end it.

The var directory holds everything of a stack: logs, ledger, control socket, and the configuration
of its supervisord, which is made of `etc/supervisord.conf`, the only one that anybody edits.
"""

from __future__ import annotations

import configparser
import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Container
from pathlib import Path
from typing import IO, Final, NamedTuple

from lib.errors import CannotStartError
from lib.segment_files import SHM_DIR
from lib.settings import PROJECT_ROOT, Settings

MAX_SOCKET_PATH_BYTES: Final = 99
"""A socket's address has room for 107 bytes, and supervisord binds it under a longer name first:
with a dot and its process id (at most 7 digits) behind it."""
SEGMENTS_S: Final = 2.0
"""How long the shared memory may take to be gone after the last role is."""
LOOK_S: Final = 0.02

_UNUSABLE_IN_PATHS: Final = re.compile(r'[%"\\]| [;#]')
"""What supervisord's configuration would take for something else."""
_PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that a process gets when its parent dies."""

CONFIGURATION: Final = PROJECT_ROOT / "etc" / "supervisord.conf"
"""The configuration that people edit."""

_RUN_ROLE: Final = "run-role"
_COMMENTS: Final = (";", "#")
_FALSE: Final = ("no", "false", "off", "0")
"""As supervisor reads its configuration (4.3: options.py, datatypes.py)."""


class Program(NamedTuple):
    """A `[program:NAME]` of supervisord's configuration."""

    name: str
    arguments: tuple[str, ...]
    """What `run-role` is given, the role first; () where the program is none of our roles."""
    autostart: bool
    """Whether it is started together with supervisord."""

    @property
    def role(self) -> str:
        """The role that it runs, "" where it is none of ours."""
        return self.arguments[0] if self.arguments else ""


def programs(configuration: str) -> list[Program]:
    """Return the programs of a supervisord configuration, given as text, in its order. Pure.

    What supervisord itself refuses is left for supervisord to refuse.
    """
    # As supervisor does it: a section may come twice, and "%" is not configparser's.
    parser = configparser.RawConfigParser(inline_comment_prefixes=_COMMENTS, strict=False)
    try:
        parser.read_string(configuration)
    except configparser.Error:
        return []
    return [
        Program(
            section.partition(":")[2].strip(),
            _role_arguments(parser.get(section, "command", fallback="")),
            parser.get(section, "autostart", fallback="true").lower() not in _FALSE,
        )
        for section in parser.sections()
        if section.startswith("program:")
    ]


def _role_arguments(command: str) -> tuple[str, ...]:
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation mark too few
        return ()
    names = [word.rpartition("/")[2] for word in words]
    # What comes before it, nice or env, is none of ours.
    return tuple(words[names.index(_RUN_ROLE) + 1 :]) if _RUN_ROLE in names else ()


def read_configuration() -> str:
    """Return the text of `etc/supervisord.conf`. Raises CannotStartError."""
    try:
        return CONFIGURATION.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise CannotStartError(f"cannot read {CONFIGURATION}: {reason}") from None


def started_roles(configuration: str) -> frozenset[str]:
    """Return the roles that supervisord starts with this configuration (its text). Pure."""
    return frozenset(p.role for p in programs(configuration) if p.autostart and p.role)


def check_paths(var_dir: Path) -> None:
    """Raise CannotStartError if supervisord could not work with the paths of this stack."""
    for path in (PROJECT_ROOT, var_dir):
        if _UNUSABLE_IN_PATHS.search(str(path)):
            raise CannotStartError(
                'supervisord cannot take a path with %, ", \\, " ;" or " #" in it: ' + str(path)
            )
    excess = len(os.fsencode(_control_socket(var_dir))) - MAX_SOCKET_PATH_BYTES
    if excess > 0:
        raise CannotStartError(
            f"the var directory's path is {excess} bytes too long for the control socket in it, "
            f"choose a shorter one (--var-dir): {var_dir}"
        )


def prepare_var_dir(var_dir: Path, original: str) -> Path:
    """Make the var directory and the configuration in it; return the configuration's path.

    `original` is the text of `etc/supervisord.conf`. Raises CannotStartError.
    """
    configuration = var_dir / "supervisord.conf"
    derived = derive_configuration(original, CONFIGURATION.parent)
    try:
        (var_dir / "log").mkdir(parents=True, exist_ok=True)
        configuration.write_text(derived, encoding="utf-8")
    except OSError as error:
        raise CannotStartError(
            f"cannot prepare the var directory: {error.filename}: {error.strerror}"
        ) from None
    return configuration


def derive_configuration(original: str, etc: Path) -> str:
    """Make of `etc/supervisord.conf` the same configuration for a var directory it lies in.

    There, %(here)s means the var directory, and what lies in `etc` is named in full.
    """
    text = re.sub(
        r"%\(here\)s(/\.\./var)?", lambda match: "%(here)s" if match[1] else str(etc), original
    )
    return (
        f"; Written by main.py at each start, from {etc}/supervisord.conf: change that one.\n{text}"
    )


def check_that_no_stack_runs(var_dir: Path) -> None:
    """Raise CannotStartError if a supervisord is at work in the var directory."""
    if wake_supervisord(var_dir) or _is_supervisord(var_dir / "supervisord.pid"):
        raise CannotStartError(
            f"another stack runs in {var_dir}: stop it, or choose another directory (--var-dir)"
        )


def _is_supervisord(pid_file: Path) -> bool:
    """Tell whether a pid file names a live supervisord, and not who got its number after it."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        return b"supervisord" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False


def check_ports(settings: Settings, roles: Container[str]) -> None:
    """Raise CannotStartError, which names port and setting, if a role could not serve its port.

    Only the ports of `roles` are asked for: a feed of the user's own has those of a gateway that is
    not started.
    """
    gateway, order_manager = settings.gateway, settings.order_manager
    for key, host, port in (
        ("gateway.price_port", gateway.host, gateway.price_port),
        ("gateway.news_port", gateway.host, gateway.news_port),
        ("order_manager.port", order_manager.host, order_manager.port),
    ):
        if key.partition(".")[0] not in roles:
            continue
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )[0]
            with socket.socket(family, kind, protocol) as server:
                # As the roles do: connections of an earlier stack that are closing do not count.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind(address)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CannotStartError(
                f"cannot serve {host}:{port}: {reason}; "
                f"stop what uses it, or set {key} to another port"
            ) from None


def start_supervisord(configuration: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start supervisord in a session of its own, so that Ctrl-C reaches us and not it.

    Its log goes to its log file; `errors` takes what it says when it cannot even begin.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    our_pid = os.getpid()

    def end_with_us() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != our_pid:  # we died before the kernel knew that it should tell
            os._exit(0)

    return subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", configuration],
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
        preexec_fn=end_with_us,
    )


def wake_supervisord(var_dir: Path) -> bool:
    """Connect to supervisord's control socket; tell whether somebody listens there.

    supervisord acts on signals, and starts and reaps its children, when its loop comes round, which
    is once a second unless something wakes it, such as a connection.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(str(_control_socket(var_dir)))
        except BlockingIOError:  # its queue of connections is full: somebody is there
            return True
        except OSError:
            return False
    return True


def _control_socket(var_dir: Path) -> Path:
    return var_dir / "supervisor.sock"


def why_it_ended(exit_code: int, errors: IO[bytes]) -> str | None:
    """Say in a few words why supervisord ended; None where it was asked to."""
    if exit_code == 0:
        return None
    if exit_code < 0:
        return f"killed by signal {-exit_code} ({signal.strsignal(-exit_code)})"
    errors.seek(0)
    said = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    reason = next((line for line in said if line.startswith("Error: ")), said[-1] if said else "")
    return f"exit code {exit_code}: {reason or 'no reason given'}"


def wait_until_segments_are_gone(name: str) -> None:
    """Wait until the price book's keeper has removed what it keeps, for a bounded time."""
    deadline_s = time.monotonic() + SEGMENTS_S
    while time.monotonic() < deadline_s:
        if not (SHM_DIR / name).exists() and not any(SHM_DIR.glob(f"{name}.*")):
            return
        time.sleep(LOOK_S)
