"""Which strategies run, and what is said of those that do not."""

from __future__ import annotations

from lib.settings import Settings, StrategySettings
from lib.stack.strategies import stack_strategies, strategy_commands, strategy_programs
from lib.stack.supervisord_configuration import read_configuration


def test_a_programs_command_says_which_strategy_it_starts():
    configuration = """
[program:first]
command="%(here)s/run-role" strategy
[program:second]
command=taskset -c 1 "/my project/etc/run-role" strategy a.third ; mine
;[program:y]
;command=run-role strategy b
[program:broken]
command=run-role strategy 'no end
[program:other]
command=cat strategy
[group:z]
programs=x
"""
    assert strategy_programs(configuration) == {"first": "strategy", "second": "strategies.a.third"}


def test_the_same_is_known_of_commands_as_supervisord_reports_them():
    commands = {
        "gateway": '"/my project/etc/run-role" gateway',
        "strategy": '"/my project/etc/run-role" strategy',
        "fast": 'nice "/my project/etc/run-role" strategy second',
        "other": "cat strategy",
    }
    assert strategy_commands(commands) == {"strategy": "strategy", "fast": "strategies.second"}


def test_those_run_that_are_in_the_settings_and_have_a_program_and_the_others_are_named():
    settings = Settings(strategies={name: StrategySettings() for name in ("second", "third")})
    programs = {"a": "strategies.third", "b": "strategy", "c": "strategies.secnd"}
    strategies = stack_strategies(settings, programs)
    assert strategies.names == ["strategy", "third"]
    unknown, idle = strategies.warnings()
    assert "program c is left out" in unknown
    assert "[strategies.secnd]" in unknown
    assert "starts [strategies.second]:" in idle
    assert idle.endswith('run-role" strategy second')


def test_of_the_first_strategy_nothing_is_said_whether_or_not_a_program_starts_it():
    strategies = stack_strategies(Settings(), strategy_programs(read_configuration()))
    assert (strategies.names, strategies.warnings()) == (["strategy"], [])
    assert stack_strategies(Settings(), {}).warnings() == []
