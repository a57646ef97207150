"""supervisord's configuration: its programs, and its copy for a var directory."""

from __future__ import annotations

import configparser

from lib.settings import PROJECT_ROOT
from lib.stack.supervisord_configuration import (
    DEFAULT_STOP_WAIT_S,
    STOP_RESERVE_S,
    derive_configuration,
    programs_of,
    read_configuration,
    started_programs,
    stop_limit_s,
    without_programs,
)

ROLES = ["gateway", "orderbook", "order_manager", "strategy", "dashboard", "watchdog"]
ETC = PROJECT_ROOT / "etc"


def parsed(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(text)
    return parser


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


def test_the_programs_are_those_of_the_configuration_each_with_its_role():
    assert [(p.name, p.role, p.autostart) for p in programs_of(read_configuration())] == [
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
    assert [tuple(program) for program in programs_of(PROGRAMS)] == [
        ("gateway", ("gateway",), False),
        ("second", ("strategy", "mine"), True),
        ("recorder", (), True),
        ("broken", (), True),
        ("order_manager", ("order_manager",), False),
    ]
    assert started_programs(PROGRAMS) == {"second": "strategy"}


def test_what_supervisord_itself_refuses_has_no_programs_of():
    assert programs_of("no section\n") == []


def test_the_last_program_is_left_out_with_all_its_lines():
    text = "[a]\nb=1\n[program:x.y]\ncommand=z\n\n; a comment\nlast=1"
    assert without_programs(text, ["x.y"]) == without_programs(text + "\n", ["x.y"]) == "[a]\nb=1\n"
    assert without_programs(text, ["xzy", "x"]) == text
    assert without_programs(text.replace("x.y", " x.y "), ["x.y"]) == "[a]\nb=1\n"


def test_a_program_that_is_left_out_is_gone_and_the_others_are_as_they_were():
    whole = parsed(read_configuration())
    less = parsed(without_programs(read_configuration(), ["strategy", "none"]))
    assert set(whole.sections()) - set(less.sections()) == {"program:strategy"}
    assert all(dict(less[section]) == dict(whole[section]) for section in less.sections())


def test_a_derived_configuration_differs_from_the_original_in_its_places_only():
    original = (ETC / "supervisord.conf").read_text()
    derived = derive_configuration(original, ETC)
    assert derived.partition("\n")[2].replace(f"{ETC}/", "%(here)s/") == original.replace(
        "%(here)s/../var", "%(here)s"
    ).replace("%(here)s is", f"{ETC} is")


def test_the_programs_have_together_what_each_of_them_has_to_end():
    assert stop_limit_s(read_configuration()) == STOP_RESERVE_S + 3 * len(ROLES)
    further = "[program:second]\ncommand=x\n[program:third]\nstopwaitsecs=7 ; slow\n"
    assert stop_limit_s(further) == STOP_RESERVE_S + DEFAULT_STOP_WAIT_S + 7
    assert stop_limit_s("[program:x]\nstopwaitsecs=soon\n") == STOP_RESERVE_S + DEFAULT_STOP_WAIT_S
    assert stop_limit_s("no section\n") == STOP_RESERVE_S
