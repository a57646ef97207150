"""A stack in its var directory: its configuration, and every reason why it cannot start."""

from __future__ import annotations

import contextlib
import io
import os
import socket
from pathlib import Path

import msgspec
import pytest

from lib.errors import CannotStartError
from lib.price_book.segment_files import keeper_path
from lib.process.file_lock import lock_file
from lib.process.run_identity import run_of
from lib.settings import PROJECT_ROOT, Settings
from lib.stack.launch import (
    MAX_SOCKET_PATH_BYTES,
    check_paths,
    check_ports,
    check_price_book,
    check_that_no_stack_runs,
    prepare_var_dir,
    start_supervisord,
    wake_supervisord,
    why_it_ended,
)
from lib.stack.supervisord_configuration import derive_configuration, read_configuration

ROLES = ["gateway", "orderbook", "order_manager", "strategy", "dashboard", "watchdog"]
ETC = PROJECT_ROOT / "etc"


@pytest.fixture
def var_dir(tmp_path_factory):
    """A short path: the control socket's must not be long."""
    return tmp_path_factory.mktemp("v")


def test_a_var_directory_has_its_configuration_and_a_place_for_logs(var_dir):
    text = prepare_var_dir(var_dir, read_configuration(), ["strategy"]).read_text()
    assert text == derive_configuration(read_configuration(), ETC, ["strategy"])
    assert (var_dir / "log").is_dir()


def test_a_var_directory_that_cannot_be_made_or_is_full_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotStartError, match=r"cannot prepare the var directory: .*file/log"):
        prepare_var_dir(tmp_path / "file", read_configuration())
    (tmp_path / "supervisord.conf").symlink_to("/dev/full")
    with pytest.raises(CannotStartError, match=rf"{tmp_path}: No space left"):
        prepare_var_dir(tmp_path, read_configuration())


@pytest.mark.parametrize("name", ["100%", 'a"b', "a\\b", "a ;b", "a #b"])
def test_a_path_that_supervisords_configuration_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(CannotStartError, match="supervisord cannot take a path"):
        check_paths(tmp_path / name)


@pytest.mark.parametrize("name", ["a b", "é", "a;b", "a'b", "$HOME", "a=b:c,d"])
def test_other_odd_paths_are_fine(var_dir, name):
    check_paths(var_dir / name)


def test_a_path_too_long_for_the_control_socket_is_refused_by_its_bytes():
    longest = "/" + "é" * 41  # 83 bytes, and 16 of "/supervisor.sock"
    assert len(f"{longest}/supervisor.sock".encode()) == MAX_SOCKET_PATH_BYTES
    check_paths(Path(longest))
    with pytest.raises(CannotStartError, match="is 2 bytes too long"):
        check_paths(Path(longest + "é"))


@pytest.mark.parametrize(
    ("taken", "key"),
    [(0, "gateway.price_port"), (1, "gateway.news_port"), (2, "order_manager.port")],
)
def test_a_taken_port_of_a_role_that_is_started_is_named_with_its_setting(taken, key):
    with contextlib.ExitStack() as servers:
        ports = []
        for index in range(3):
            server = servers.enter_context(socket.create_server(("127.0.0.1", 0)))
            ports.append(server.getsockname()[1])
            if index != taken:
                server.close()
        replace, settings = msgspec.structs.replace, Settings()
        settings = replace(
            settings,
            gateway=replace(settings.gateway, price_port=ports[0], news_port=ports[1]),
            order_manager=replace(settings.order_manager, port=ports[2]),
        )
        message = rf"127\.0\.0\.1:{ports[taken]}: address already in use; .* set {key} to"
        with pytest.raises(CannotStartError, match=message):
            check_ports(settings, ROLES)
        check_ports(settings, {*ROLES} - {key.partition(".")[0]})
    check_ports(settings, ROLES)


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


OWN_PID = f"{os.getpid()}\n"


@pytest.mark.parametrize(
    "content", ["", "no number", "99999999", pytest.param(OWN_PID, id="our own")]
)
def test_a_pid_file_that_names_no_supervisord_is_no_stack(var_dir, content):
    (var_dir / "supervisord.pid").write_text(content)
    check_that_no_stack_runs(var_dir)


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


