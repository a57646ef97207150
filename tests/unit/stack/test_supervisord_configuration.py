"""supervisord's configuration: its programs, and its copy for a var directory."""

from __future__ import annotations

import pytest

from lib.settings import PROJECT_ROOT
from lib.stack.supervisord_configuration import (
    DEFAULT_STOP_WAIT_S,
    STOP_RESERVE_S,
    derive_configuration,
    parse_configuration,
    programs_of,
    read_configuration,
    started_programs,
    stop_limit_s,
)

ROLES = ["gateway", "orderbook", "order_manager", "strategy", "dashboard", "watchdog"]
ETC = PROJECT_ROOT / "etc"
SOURCE = ETC / "supervisord.conf"


def test_all_roles_are_run_alike_and_supervisord_listens_on_no_tcp_port():
    parser = parse_configuration(read_configuration())
    assert "inet_http_server" not in parser.sections()
    assert started_programs(read_configuration()) == dict(zip(ROLES, ROLES, strict=True))
    options = [dict(parser[f"program:{role}"]) for role in ROLES]
    for role, its in zip(ROLES, options, strict=True):
        assert its.pop("command") == f'"%(here)s/run-role" {role}'
        del its["priority"]
    assert options == [options[0]] * len(ROLES)
    # The one that the gateway starts, and that ends.
    differs = {"autostart": "false", "autorestart": "false", "startsecs": "0"}
    tape = {**options[0], **differs, "command": '"%(here)s/run-role" tape', "priority": "8"}
    del tape["startretries"]
    assert dict(parser["program:tape"]) == tape


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
    assert [tuple(program) for program in programs_of(PROGRAMS)] == [
        ("gateway", ("gateway",), False),
        ("second", ("strategy", "mine"), True),
        ("recorder", (), True),
        ("broken", (), True),
        ("order_manager", ("order_manager",), False),
    ]
    assert started_programs(PROGRAMS) == {"second": "strategy"}
    assert programs_of("no section\n") == []


def options_of(text: str) -> dict[tuple[str, str], str]:
    """Every option of a configuration, by section and key."""
    parser = parse_configuration(text)
    return {(section, key): parser[section][key] for section in parser for key in parser[section]}


def test_a_derived_configuration_differs_from_the_original_in_its_places_only():
    original = options_of(read_configuration())
    derived = options_of(derive_configuration(read_configuration(), SOURCE))
    assert list(derived) == list(original)
    for option, value in original.items():
        assert derived[option] == value.replace("%(here)s/../var", "%(here)s").replace(
            "%(here)s/run-role", f"{ETC}/run-role"
        )


@pytest.mark.parametrize("name", ["market.conf", "strategy.conf", "order.conf"])
def test_the_programs_of_a_host_of_a_cluster_write_into_the_var_directory_only(name):
    source = ETC / "cluster" / name
    derived = options_of(derive_configuration(read_configuration(source), source))
    assert derived["program:watchdog", "command"] == f'"{ETC}/cluster/../run-role" watchdog'
    for (section, key), value in derived.items():
        if "logfile" in key and value.startswith(("/", "%")):
            assert value.startswith("%(here)s/"), (section, key)


def test_what_supervisord_reads_in_a_derived_configuration_is_what_it_read_before():
    text = """
[program:x.y]
Command=sh -c "echo a;b#c" ; a comment
environment=
    A="100%%",
    ; a comment between
    B="#2"
[program:x.y]
autostart=off
"""
    assert options_of(derive_configuration(text, SOURCE)) == options_of(text)
    assert options_of(text)["program:x.y", "environment"] == '\nA="100%%",\nB="#2"'


def test_a_program_that_is_left_out_is_gone_and_the_others_are_as_they_were():
    text = f"{read_configuration()}\n[program: x.y ]\ncommand=z\n"
    whole = options_of(derive_configuration(text, SOURCE))
    less = options_of(derive_configuration(text, SOURCE, ["strategy", "x.y", "x", "none"]))
    gone = {section for section, _ in whole.keys() - less.keys()}
    assert gone == {"program:strategy", "program: x.y "}
    assert less.items() <= whole.items()
    # What supervisord refuses is copied for it to report.
    assert derive_configuration("no section\n", SOURCE, ["strategy"]) == "no section\n"


def test_the_programs_have_together_what_each_of_them_has_to_end():
    assert stop_limit_s(read_configuration()) == STOP_RESERVE_S + 3 * len([*ROLES, "tape"])
    further = "[program:second]\ncommand=x\n[program:third]\nstopwaitsecs=7 ; slow\n"
    assert stop_limit_s(further) == STOP_RESERVE_S + DEFAULT_STOP_WAIT_S + 7
    assert stop_limit_s("[program:x]\nstopwaitsecs=soon\n") == STOP_RESERVE_S + DEFAULT_STOP_WAIT_S
    assert stop_limit_s("no section\n") == STOP_RESERVE_S
