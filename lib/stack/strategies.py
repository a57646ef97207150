"""The strategies of a stack: which are in the settings, and which a program starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lib.settings import Settings, StrategySettings
from lib.stack.supervisord_configuration import programs_of, role_arguments


class StackStrategies(NamedTuple):
    """The strategies by the settings, compared with the programs of supervisord.

    A strategy is named by its table in the settings: "strategy", or "strategies.NAME".
    """

    run: dict[str, StrategySettings]
    """The strategies that run, with their settings."""
    idle: list[str]
    """Strategies of the settings that no program starts."""
    unknown: dict[str, str]
    """By program, strategies that are not in the settings: such a program could only fail."""

    @property
    def names(self) -> list[str]:
        """The names of the strategies that run: "strategy", or NAME."""
        return [table.removeprefix("strategies.") for table in self.run]

    def warnings(self) -> list[str]:
        """Return a line for each strategy or program that does not run."""
        said = [
            f"program {program} is left out: there is no [{table}] in the settings"
            for program, table in self.unknown.items()
        ]
        if self.idle:
            tables = ", ".join(f"[{table}]" for table in self.idle)
            name = self.idle[0].removeprefix("strategies.")
            said.append(
                f"no program of etc/supervisord.conf starts {tables}: it takes one with "
                f'command="%(here)s/run-role" strategy {name}'
            )
        return said


def stack_strategies(settings: Settings, programs: dict[str, str]) -> StackStrategies:
    """Compare the settings with the strategies that the programs start (`strategy_programs`)."""
    tables = settings.all_strategies()
    started = set(programs.values())
    return StackStrategies(
        {table: strategy for table, strategy in tables.items() if table in started},
        [table for table in tables if table not in started and table != "strategy"],
        {program: table for program, table in programs.items() if table not in tables},
    )


def strategy_programs(configuration: str) -> dict[str, str]:
    """Return the strategy that each program of a configuration (its text) starts, by program.

    "strategy" is started by `run-role strategy`, "strategies.NAME" by `run-role strategy NAME`.
    """
    return _strategies({program.name: program.arguments for program in programs_of(configuration)})


def strategy_commands(commands: Mapping[str, str]) -> dict[str, str]:
    """Return the strategy that each command starts, by program, as `strategy_programs` does."""
    return _strategies({program: role_arguments(command) for program, command in commands.items()})


def _strategies(arguments: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return the strategies among programs, by program; given are the arguments of `run-role`."""
    return {
        program: ".".join(("strategies", *names) if names else ("strategy",))
        for program, words in arguments.items()
        if words[:1] == ("strategy",)
        for names in [words[1:]]
    }
