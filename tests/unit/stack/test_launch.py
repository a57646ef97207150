"""A stack in its var directory: its configuration, and every reason why it cannot start."""

from __future__ import annotations

import io
import os
import socket
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from lib.errors import CannotStartError
from lib.price_book.segment_files import keeper_path
from lib.process.file_lock import lock_file
from lib.process.run_identity import run_of
from lib.settings import OrderManagerSettings, Settings
from lib.stack.launch import (
    MAX_CONTROL_SOCKET_BYTES,
    check_paths,
    check_ports,
    check_price_book,
    check_that_no_stack_runs,
    check_token_file,
    own_var_dir,
    prepare_var_dir,
    reap_orphans,
    wake_supervisord,
    why_it_ended,
)
from lib.stack.private_stack import free_ports
from lib.stack.supervisord_configuration import read_configuration
from tests.loops import needs_ipv6
from tests.processes import forked

ROLES = ["gateway", "orderbook", "order_manager", "strategy", "dashboard", "watchdog"]


@pytest.fixture
def var_dir(tmp_path_factory):
    """A short path: the control socket's must not be long."""
    return tmp_path_factory.mktemp("v")


def test_a_var_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotStartError, match=r"cannot use .*/file: it is a regular file, not a"):
        own_var_dir(tmp_path / "file")
    with pytest.raises(CannotStartError, match=r"cannot write .*/supervisord\.conf: Not a dir"):
        prepare_var_dir(tmp_path / "file", read_configuration())


def test_a_var_directory_is_made_for_us_alone_and_one_of_ours_with_its_logs_is_adopted(tmp_path):
    var_dir = tmp_path / "deep" / "var"
    own_var_dir(var_dir)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (var_dir, var_dir / "log")] == [0o700] * 2
    log = var_dir / "log" / "gateway.jsonl.1"
    log.touch()
    for path in (var_dir, log):
        path.chmod(0o777)
    own_var_dir(var_dir)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (var_dir, log)] == [0o755] * 2
    assert stat.S_IMODE(prepare_var_dir(var_dir, "").stat().st_mode) == 0o600


def test_a_var_directory_of_another_user_is_refused_with_both_names(tmp_path, monkeypatch):
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(CannotStartError, match=rf"belongs to user .*{owner}.*{owner + 1}.*--var"):
        own_var_dir(tmp_path)


PLANTED = {
    "FIFO": os.mkfifo,
    "symbolic link": lambda path: path.symlink_to("elsewhere"),
    "directory": Path.mkdir,
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize(
    "name",
    [
        "log/gateway.out",
        "log/gateway.jsonl",
        "log/strategy.jsonl.5",
        "supervisord.log",
        "supervisord.log.1",
        "supervisord.pid",
        "supervisord.conf",
        "supervisor.sock",
    ],
)
def test_what_is_no_file_of_supervisords_in_the_place_of_one_is_named(var_dir, name, kind):
    own_var_dir(var_dir)
    PLANTED[kind](var_dir / name)
    with pytest.raises(CannotStartError, match=rf"cannot use .*/{name}: it is a {kind}, .*remove"):
        own_var_dir(var_dir)


def test_other_files_in_the_log_directory_are_of_no_concern(var_dir):
    own_var_dir(var_dir)
    (var_dir / "log" / "old").mkdir()
    (var_dir / "log" / "gateway.jsonl-20251103").symlink_to("elsewhere")
    own_var_dir(var_dir)
    assert len(list((var_dir / "log").iterdir())) == 2


@pytest.mark.parametrize("name", ["100%", 'a"b', "a\\b", "a ;b", "a #b"])
def test_a_path_that_supervisords_configuration_cannot_hold_is_refused(var_dir, name):
    with pytest.raises(CannotStartError, match="supervisord cannot take a path"):
        check_paths(var_dir / name)
    check_paths(var_dir / "a b;é'$HOME=c:d,e#")


def test_a_path_too_long_for_the_control_socket_is_refused_by_its_bytes():
    longest = "/" + "é" * 41  # 83 bytes, and 16 of "/supervisor.sock"
    assert len(f"{longest}/supervisor.sock".encode()) == MAX_CONTROL_SOCKET_BYTES
    check_paths(Path(longest))
    with pytest.raises(CannotStartError, match="is 2 bytes too long"):
        check_paths(Path(longest + "é"))


@pytest.mark.parametrize(
    ("section", "key"),
    [("gateway", "price_port"), ("gateway", "news_port"), ("order_manager", "port")],
)
def test_a_taken_port_of_a_role_that_is_started_is_named_with_its_setting(section, key):
    free = dict(zip(("price_port", "news_port", "port"), free_ports(3), strict=True))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ports = free | {key: port}
        replace, settings = msgspec.structs.replace, Settings()
        manager = replace(settings.order_manager, port=ports.pop("port"))
        gateway = replace(settings.gateway, **ports)
        settings = replace(settings, gateway=gateway, order_manager=manager)
        message = rf"127\.0\.0\.1:{port}: address already in use; .* set {section}\.{key} to"
        with pytest.raises(CannotStartError, match=message):
            check_ports(settings, ROLES)
        check_ports(settings, {*ROLES} - {section})
    check_ports(settings, ROLES)


def test_a_token_is_needed_by_an_order_manager_only(tmp_path):
    settings = Settings(order_manager=OrderManagerSettings(token_file=tmp_path / "token"))
    check_token_file(settings, {"gateway"})
    check_token_file(Settings(), ROLES)
    with pytest.raises(CannotStartError, match="token is not there"):
        check_token_file(settings, ROLES)


@needs_ipv6
def test_a_port_of_localhost_must_be_free_on_each_address():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        settings = Settings(order_manager=OrderManagerSettings(host="localhost", port=port))
        with pytest.raises(CannotStartError, match=rf"\[::1\]:{port}: address already in use"):
            check_ports(settings, ["order_manager"])


def test_a_price_book_that_another_stack_keeps_is_named_with_its_setting():
    name = f"tradewire-test-{os.getpid()}"
    settings = Settings()
    settings = msgspec.structs.replace(
        settings, price_book=msgspec.structs.replace(settings.price_book, name=name)
    )
    check_price_book(settings)
    other = run_of(os.getpid())
    lock = lock_file(keeper_path(name), f"{other.pid} {other.start_ticks}")
    try:
        message = rf"price book {name} .*process {os.getpid()}\): set \[price_book\] name to"
        with pytest.raises(CannotStartError, match=message):
            check_price_book(settings)
        keeper_path(name).write_text(f"{other.pid} {other.start_ticks - 1}")  # it has ended
        check_price_book(settings)
    finally:
        os.close(lock)
        keeper_path(name).unlink()


def test_a_stack_in_the_same_directory_is_noticed_by_its_control_socket(var_dir):
    check_that_no_stack_runs(var_dir)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(var_dir / "supervisor.sock"))
        check_that_no_stack_runs(var_dir)  # the file alone may be left from a killed one
        server.listen()
        assert wake_supervisord(var_dir)
        with pytest.raises(CannotStartError, match="another stack runs in "):
            check_that_no_stack_runs(var_dir)
    assert not wake_supervisord(var_dir)


@pytest.mark.parametrize("content", ["no number", "99999999", pytest.param(None, id="our own")])
def test_a_pid_file_that_names_no_supervisord_is_no_stack(var_dir, content):
    (var_dir / "supervisord.pid").write_text(content or f"{os.getpid()}\n")
    check_that_no_stack_runs(var_dir)


def test_a_fifo_in_the_place_of_the_pid_file_is_not_waited_for(var_dir):
    os.mkfifo(var_dir / "supervisord.pid")
    with forked(lambda: check_that_no_stack_runs(var_dir)) as child:
        assert child.join() == 0


def _reap_as_pid_1() -> None:
    os.getpid = lambda: 1
    supervisord = subprocess.Popen(["sh", "-c", "read line; exit 3"], stdin=subprocess.PIPE)
    orphan = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
    reap_orphans(supervisord)
    with pytest.raises(ChildProcessError):
        os.waitpid(orphan, 0)
    assert supervisord.poll() is None
    assert supervisord.stdin
    supervisord.stdin.close()
    os.waitid(os.P_PID, supervisord.pid, os.WEXITED | os.WNOWAIT)
    reap_orphans(supervisord)
    assert supervisord.poll() == 3


def test_pid_1_reaps_orphans_and_leaves_supervisord_with_its_exit_code():
    with forked(_reap_as_pid_1) as child:
        assert child.join() == 0


@pytest.mark.parametrize(
    ("exit_code", "said", "reason"),
    [
        (0, b"", None),
        (-9, b"", "killed by signal 9 (Killed)"),
        (2, b"Unlinking x\nError: no room\nFor help, use -h\n", "exit code 2: Error: no room"),
        (1, b"Traceback:\nImportError: x\n\n", "exit code 1: ImportError: x"),
        (3, b"", "exit code 3: no reason given"),
    ],
)
def test_why_supervisord_ended_is_said_in_a_few_words(exit_code, said, reason):
    assert why_it_ended(exit_code, io.BytesIO(said)) == reason
