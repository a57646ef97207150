"""What the machine must give a stack: open files, processes, Unix sockets, programs that may run.

Each is checked before supervisord starts, because what supervisord and the roles say about it is
late, long, or nothing at all. An error is one line: the limit or the file, and the cure.
"""

from __future__ import annotations

import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from lib.errors import CannotStartError
from lib.process.limits import raise_to_hard_limit
from lib.stack.supervisord_configuration import CONFIGURATION, RUN_ROLE

MIN_OPEN_FILES: Final = 256
"""What a stack of a few programs needs: a gateway that serves 64 clients on each port."""
OPEN_FILES_A_PROGRAM: Final = 6
"""What supervisord holds for a program: three pipes, two logs, and a spare one."""
OPEN_FILES_OF_SUPERVISORD: Final = 32
"""What supervisord holds beside, with connections to its control socket."""
MIN_ADDRESS_SPACE: Final = 512 * 1024 * 1024
"""main.py and each role map some 300 MB with the default settings, most of it libraries."""
MIN_CPU_S: Final = 24 * 60 * 60
"""At its end the kernel kills a process. A role at full speed uses a core all the time."""
MIN_FILE_BYTES: Final = 64 * 1024 * 1024
"""The price book, the logs of 10 MB, and a ledger of several 100,000 orders."""
PROCESSES_A_PROGRAM: Final = 2
"""A role, and what its start or its work needs for a moment."""
PROCESSES_OF_A_STACK: Final = 6
"""main.py, supervisord, the price book's clean-up process, and as many to spare."""
UID_MAP: Final = Path("/proc/self/uid_map")
INITIAL_UID_MAP: Final = [0, 0, 2**32 - 1]
"""That of the machine itself: user_namespaces(7). In a rootless container, root is a user of the
machine, whose limits hold."""


def check_limits(programs: int) -> None:
    """Raise CannotStartError if this user's limits are too low for a stack of `programs`.

    Soft limits are raised to the hard ones, which the stack inherits.
    """
    files = max(MIN_OPEN_FILES, OPEN_FILES_OF_SUPERVISORD + programs * OPEN_FILES_A_PROGRAM)
    for kind, what, unit, least in (
        (resource.RLIMIT_FSIZE, "a file's size (ulimit -f)", " bytes", MIN_FILE_BYTES),
        (resource.RLIMIT_AS, "address space (ulimit -v)", " bytes", MIN_ADDRESS_SPACE),
        (resource.RLIMIT_CPU, "CPU time (ulimit -t)", " s", MIN_CPU_S),
        (resource.RLIMIT_NOFILE, "open files (ulimit -n)", "", files),
    ):
        limit = raise_to_hard_limit(kind)
        if limit != resource.RLIM_INFINITY and limit < least:
            raise CannotStartError(
                f"the limit of {what} is {limit:,}{unit}, the stack wants at least {least:,}: "
                "raise it"
            )
    if _is_root_of_the_machine():  # whose processes the kernel does not limit
        return
    wanted = PROCESSES_OF_A_STACK + programs * PROCESSES_A_PROGRAM
    limit = raise_to_hard_limit(resource.RLIMIT_NPROC)
    if limit == resource.RLIM_INFINITY:
        return
    used = sum(_threads_of(os.getuid()))
    if used + wanted > limit:
        raise CannotStartError(
            f"the limit of processes (ulimit -u) is {limit}, of which {used} are in use by "
            f"this user, and the stack wants {wanted}: raise it, or end other programs"
        )


def _is_root_of_the_machine() -> bool:
    if os.getuid() != 0:
        return False
    try:
        numbers = UID_MAP.read_text(encoding="ascii").split()
    except FileNotFoundError:  # a kernel without user namespaces
        return True
    return list(map(int, numbers)) == INITIAL_UID_MAP


def _threads_of(uid: int) -> Iterator[int]:
    """Yield how many threads each process of a user has: these are what is limited."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if process.stat().st_uid == uid:
                yield sum(1 for _ in (process / "task").iterdir())


def check_control_socket(var_dir: Path) -> None:
    """Raise CannotStartError if supervisord could not make its control socket there.

    It binds one under a name of its own and gives it the final one with a hard link. Where links
    fail it would try for ever.
    """
    bound = var_dir / f"supervisor.sock.{os.getpid()}"
    linked = bound.with_name(f"{bound.name}.link")
    try:
        _remove(bound, linked)  # of a process of the same number, which was killed
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(bound))
        os.link(bound, linked)
        _remove(bound, linked)
    except OSError as error:
        raise CannotStartError(
            f"cannot make a Unix socket and a hard link to it in {var_dir}, as supervisord does: "
            f"{error.strerror}; choose a directory on a local disk (--var-dir)"
        ) from None


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def find_temporary_directory(var_dir: Path) -> None:
    """Let it be the var directory where no other can be written to: supervisord wants one."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        os.environ["TMPDIR"] = str(var_dir)


def check_run_role() -> None:
    """Raise CannotStartError if the script that runs the roles may not be executed."""
    script = CONFIGURATION.with_name(RUN_ROLE)
    if not os.access(script, os.X_OK):
        raise CannotStartError(
            f"{script} cannot be executed: chmod +x it; if it is already, the file system is "
            "mounted with noexec"
        )
