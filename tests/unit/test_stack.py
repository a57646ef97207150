"""A stack in its var directory: its configuration, and every reason why it cannot start."""

from __future__ import annotations

import configparser
import contextlib
import io
import os
import socket
from pathlib import Path

import msgspec
import pytest

from lib.errors import CannotStartError
from lib.settings import PROJECT_ROOT, Settings
from lib.stack import (
    MAX_SOCKET_PATH_BYTES,
    check_paths,
    check_ports,
    check_that_no_stack_runs,
    derive_configuration,
    prepare_var_dir,
    programs,
    read_configuration,
    started_roles,
    wait_until_segments_are_gone,
    wake_supervisord,
    why_it_ended,
)

ROLES = ["gateway", "orderbook", "order_manager", "strategy", "dashboard", "watchdog"]
ETC = PROJECT_ROOT / "etc"


def parsed(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(text)
    return parser


@pytest.fixture
def var_dir(tmp_path_factory):
    """A short path: the control socket's must not be long."""
    return tmp_path_factory.mktemp("v")


def test_the_configuration_names_every_role_once_and_no_tcp_port():
    sections = parsed((ETC / "supervisord.conf").read_text()).sections()
    assert [name for name in sections if name.startswith("program:")] == [
        f"program:{role}" for role in ROLES
    ]
    assert "inet_http_server" not in sections


def test_all_roles_are_run_alike():
    parser = parsed((ETC / "supervisord.conf").read_text())
    different = {"command", "priority"}
    alike = [
        {key: value for key, value in parser[f"program:{role}"].items() if key not in different}
        for role in ROLES
    ]
    assert alike == [alike[0]] * len(ROLES)
    for role in ROLES:
        assert parser[f"program:{role}"]["command"] == f'"%(here)s/run-role" {role}'


def test_a_derived_configuration_keeps_everything_in_its_own_directory(var_dir):
    parser = parsed(prepare_var_dir(var_dir, read_configuration()).read_text())
    assert parser["unix_http_server"]["file"] == "%(here)s/supervisor.sock"
    assert parser["supervisord"]["logfile"] == "%(here)s/supervisord.log"
    assert parser["supervisorctl"]["serverurl"] == "unix://%(here)s/supervisor.sock"
    gateway = parser["program:gateway"]
    assert gateway["command"] == f'"{ETC}/run-role" gateway'
    assert gateway["stdout_logfile"] == "%(here)s/log/%(program_name)s.out"
    assert (var_dir / "log").is_dir()


def test_a_derived_configuration_differs_from_the_original_in_its_places_only():
    original = (ETC / "supervisord.conf").read_text()
    derived = derive_configuration(original, ETC)
    assert derived.partition("\n")[2].replace(f"{ETC}/", "%(here)s/") == original.replace(
        "%(here)s/../var", "%(here)s"
    ).replace("%(here)s is", f"{ETC} is")


def test_a_var_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotStartError, match=r"cannot prepare the var directory: .*file/log"):
        prepare_var_dir(tmp_path / "file", read_configuration())


def test_the_programs_are_those_of_the_configuration_each_with_its_role():
    assert [(p.name, p.role, p.autostart) for p in programs(read_configuration())] == [
        (role, role, True) for role in ROLES
    ]


PROGRAMS = """
[program:gateway]
command="%(here)s/run-role" gateway
autostart = False ; a feed of my own
[program:second]
command=nice -n 5 '/with a space/etc/run-role' strategy mine
[program:recorder]
command=/usr/bin/python3 strategy.py
[program:broken]
command="%(here)s/run-role
[group:ours]
programs=second
[program:order_manager]
command=%(here)s/run-role order_manager
autostart=true
[program:order_manager]
autostart=off
"""


def test_a_program_says_what_it_runs_and_whether_it_is_started():
    assert [tuple(program) for program in programs(PROGRAMS)] == [
        ("gateway", ("gateway",), False),
        ("second", ("strategy", "mine"), True),
        ("recorder", (), True),
        ("broken", (), True),
        ("order_manager", ("order_manager",), False),
    ]
    assert started_roles(PROGRAMS) == {"strategy"}


def test_what_supervisord_itself_refuses_has_no_programs():
    assert programs("no section\n") == []


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


def settings_with_ports(price_port: int, news_port: int, order_port: int) -> Settings:
    settings = Settings()
    return msgspec.structs.replace(
        settings,
        gateway=msgspec.structs.replace(
            settings.gateway, price_port=price_port, news_port=news_port
        ),
        order_manager=msgspec.structs.replace(settings.order_manager, port=order_port),
    )


def test_ports_that_are_free_are_fine():
    with contextlib.ExitStack() as servers:
        addresses = [
            servers.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()
            for _ in range(3)
        ]
    check_ports(settings_with_ports(*(port for _, port in addresses)), ROLES)


@pytest.mark.parametrize(
    ("taken", "key"),
    [(0, "gateway.price_port"), (1, "gateway.news_port"), (2, "order_manager.port")],
)
def test_a_port_that_is_taken_is_named_with_its_setting(taken, key):
    with contextlib.ExitStack() as servers:
        ports = []
        for index in range(3):
            server = servers.enter_context(socket.create_server(("127.0.0.1", 0)))
            ports.append(server.getsockname()[1])
            if index != taken:
                server.close()
        message = rf"127\.0\.0\.1:{ports[taken]}: address already in use; .* set {key} to"
        with pytest.raises(CannotStartError, match=message):
            check_ports(settings_with_ports(*ports), ROLES)


def test_a_port_of_a_role_that_is_not_started_may_be_taken():
    with contextlib.ExitStack() as servers:
        ports = [
            servers.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            for _ in range(3)
        ]
        with pytest.raises(CannotStartError, match=r"order_manager\.port"):
            check_ports(settings_with_ports(*ports), {"order_manager"})
        check_ports(settings_with_ports(*ports), {"orderbook"})


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


@pytest.mark.parametrize("content", ["", "no number", "99999999", f"{os.getpid()}\n"])
def test_a_pid_file_that_names_no_supervisord_is_no_stack(var_dir, content):
    (var_dir / "supervisord.pid").write_text(content)
    check_that_no_stack_runs(var_dir)


@pytest.mark.parametrize(
    ("exit_code", "said", "reason"),
    [
        (0, b"", None),
        (-9, b"", "killed by signal 9 (Killed)"),
        (
            2,
            b"Unlinking stale socket x\nError: no room\nFor help, use supervisord -h\n",
            "exit code 2: Error: no room",
        ),
        (
            1,
            b"Traceback:\nImportError: no supervisor\n\n",
            "exit code 1: ImportError: no supervisor",
        ),
        (3, b"", "exit code 3: no reason given"),
    ],
)
def test_why_supervisord_ended_is_said_in_a_few_words(exit_code, said, reason):
    assert why_it_ended(exit_code, io.BytesIO(said)) == reason


def test_a_price_book_that_does_not_exist_is_not_waited_for():
    wait_until_segments_are_gone(f"tradewire-test-{os.getpid()}")
