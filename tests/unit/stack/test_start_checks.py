"""What the machine must give a stack: what is missing is one line that names it and the cure."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from lib.errors import CannotStartError
from lib.process.limits import FEWEST_DESCRIPTORS, client_places
from lib.settings import PROJECT_ROOT
from lib.stack import start_checks
from lib.stack.start_checks import (
    MIN_ADDRESS_SPACE,
    MIN_CPU_S,
    MIN_FILE_BYTES,
    MIN_OPEN_FILES,
    PROCESSES_A_PROGRAM,
    PROCESSES_OF_A_STACK,
    check_control_socket,
    check_limits,
    check_run_role,
    find_temporary_directory,
)
from lib.stack.supervisord_configuration import (
    parse_configuration,
    read_configuration,
    started_programs,
)

PROGRAMS = 6
USER = 54321
"""Nobody's number, so without processes."""


@pytest.fixture
def limits(monkeypatch):
    """The limits of a user that is not root, soft and hard, by kind."""
    limits = {
        resource.RLIMIT_FSIZE: (resource.RLIM_INFINITY,) * 2,
        resource.RLIMIT_AS: (resource.RLIM_INFINITY,) * 2,
        resource.RLIMIT_CPU: (resource.RLIM_INFINITY,) * 2,
        resource.RLIMIT_NOFILE: (1024, 4096),
        resource.RLIMIT_NPROC: (resource.RLIM_INFINITY,) * 2,
    }
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    monkeypatch.setattr(os, "getuid", lambda: USER)
    return limits


def test_soft_limits_are_raised_to_the_hard_ones(limits):
    limits[resource.RLIMIT_NPROC] = (10, 1000)
    check_limits(PROGRAMS)
    assert limits[resource.RLIMIT_NOFILE] == (4096, 4096)
    assert limits[resource.RLIMIT_NPROC] == (1000, 1000)


@pytest.mark.parametrize(("programs", "wanted"), [(PROGRAMS, MIN_OPEN_FILES), (100, 632)])
def test_too_low_a_limit_of_open_files_is_named_with_what_is_wanted(limits, programs, wanted):
    for limit in (wanted, resource.RLIM_INFINITY):
        limits[resource.RLIMIT_NOFILE] = (40, limit)
        check_limits(programs)
    limits[resource.RLIMIT_NOFILE] = (40, wanted - 1)
    message = (
        rf"^the limit of open files \(ulimit -n\) is {wanted - 1}, .* at least {wanted}: raise"
    )
    with pytest.raises(CannotStartError, match=message):
        check_limits(programs)


def test_at_the_least_limit_of_open_files_the_gateway_serves_clients():
    assert client_places(64) <= (MIN_OPEN_FILES - FEWEST_DESCRIPTORS) // 2


@pytest.mark.parametrize(
    ("kind", "least", "message"),
    [
        (resource.RLIMIT_FSIZE, MIN_FILE_BYTES, r"\(ulimit -f\) is 67,108,863 bytes"),
        (resource.RLIMIT_AS, MIN_ADDRESS_SPACE, r"\(ulimit -v\) is 536,870,911 bytes"),
        (resource.RLIMIT_CPU, MIN_CPU_S, r"\(ulimit -t\) is 86,399 s"),
    ],
)
def test_too_low_a_limit_is_named_with_what_is_wanted(limits, kind, least, message):
    limits[kind] = (1, least)
    check_limits(PROGRAMS)
    limits[kind] = (1, least - 1)
    with pytest.raises(CannotStartError, match=f"{message}, .* at least {least:,}: raise it"):
        check_limits(PROGRAMS)


def test_too_low_a_limit_of_processes_is_named_with_what_is_in_use(limits, monkeypatch):
    wanted = PROCESSES_OF_A_STACK + PROGRAMS * PROCESSES_A_PROGRAM
    monkeypatch.setattr(start_checks, "_threads_of", lambda _: [40, 5])
    limits[resource.RLIMIT_NPROC] = (wanted + 45, wanted + 45)
    check_limits(PROGRAMS)
    limits[resource.RLIMIT_NPROC] = (60, wanted + 44)
    message = rf"\(ulimit -u\) is {wanted + 44}, of which 45 are in use .* wants {wanted}: raise it"
    with pytest.raises(CannotStartError, match=message):
        check_limits(PROGRAMS)


@pytest.mark.parametrize(
    ("uid_map", "is_limited"),
    [
        ("         0          0 4294967295\n", False),
        ("0 1000 1\n1 100000 65536\n", True),  # a rootless container
    ],
)
def test_the_limit_of_processes_holds_for_root_in_a_rootless_container(
    tmp_path, limits, monkeypatch, uid_map, is_limited
):
    # tmp_path comes first: pytest looks whether the directory is its user's.
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(start_checks, "UID_MAP", tmp_path / "uid_map")
    start_checks.UID_MAP.write_text(uid_map)
    limits[resource.RLIMIT_NPROC] = (1, 1)
    with pytest.raises(CannotStartError, match="ulimit -u") if is_limited else nullcontext():
        check_limits(PROGRAMS)


def test_the_threads_of_a_user_are_those_of_all_its_processes():
    code = (
        "import threading, sys; event = threading.Event()\n"
        "for _ in range(3): threading.Thread(target=event.wait, daemon=True).start()\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout
    try:
        child.stdout.readline()
        assert 4 in start_checks._threads_of(os.getuid())
        assert list(start_checks._threads_of(USER)) == []
    finally:
        child.communicate()


def test_supervisords_own_bounds_are_not_above_ours():
    """Its messages are long and without a cure: ours must come first."""
    configuration = read_configuration()
    options = parse_configuration(configuration)["supervisord"]
    programs = len(started_programs(configuration))
    assert int(options["minfds"]) <= MIN_OPEN_FILES
    assert int(options["minprocs"]) <= PROCESSES_OF_A_STACK + programs * PROCESSES_A_PROGRAM


def refuse(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: int) -> None:
    def fail(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(owner, name, fail)


@pytest.mark.parametrize(
    ("owner", "name"), [(socket.socket, "bind"), (os, "link")], ids=["socket", "link"]
)
def test_a_file_system_without_unix_sockets_or_links_is_refused_with_what_to_do(
    tmp_path_factory, monkeypatch, owner, name
):
    """That is the answer of vfat, and of file systems over a network or FUSE."""
    var_dir = tmp_path_factory.mktemp("v")
    check_control_socket(var_dir)
    with monkeypatch.context() as patch:
        refuse(patch, owner, name, errno.EPERM)
        message = (
            rf"Unix socket and .* in {var_dir}, .*: Operation not permitted; choose .*--var-dir"
        )
        with pytest.raises(CannotStartError, match=message):
            check_control_socket(var_dir)
    check_control_socket(var_dir)  # whatever the failed one has left
    assert list(var_dir.iterdir()) == []


def test_where_nothing_else_can_be_written_to_the_var_directory_is_the_temporary_one(
    tmp_path, monkeypatch
):
    """A container whose root is read-only."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", "/usual")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path)])
        find_temporary_directory(tmp_path / "v")
    assert os.environ["TMPDIR"] == "/usual"
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
    find_temporary_directory(tmp_path / "v")
    assert os.environ["TMPDIR"] == f"{tmp_path}/v"


def test_a_run_role_that_may_not_be_executed_is_refused_with_what_to_do(tmp_path, monkeypatch):
    check_run_role()
    monkeypatch.setattr(start_checks, "CONFIGURATION", tmp_path / "supervisord.conf")
    (tmp_path / "run-role").touch(0o644)
    with pytest.raises(CannotStartError, match="run-role cannot be executed: chmod"):
        check_run_role()


def test_what_supervisord_and_the_shell_read_has_only_ascii():
    """The configuration is read in the encoding of the locale, which may have nothing else."""
    for name in ("supervisord.conf", "run-role"):
        assert Path(PROJECT_ROOT, "etc", name).read_bytes().isascii()
