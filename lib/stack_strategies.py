"""The strategies of a stack: in its settings, and started by a program of its supervisord."""

from __future__ import annotations

import configparser
import contextlib
import shlex
from pathlib import Path
from typing import Final, NamedTuple

from lib.settings import PROJECT_ROOT, Settings, StrategySettings

SUPERVISORD_CONF: Final = PROJECT_ROOT / "etc" / "supervisord.conf"


class StackStrategies(NamedTuple):
    """What comes of a stack's settings and the programs of its supervisord.

    A strategy is named by its table in the settings: "strategy", or "strategies.NAME".
    """

    run: dict[str, StrategySettings]
    """Those that run."""
    idle: list[str]
    """Further ones that no program starts."""
    unknown: dict[str, str]
    """By program, those that are not in the settings: such a program could only end again."""

    @property
    def names(self) -> list[str]:
        """How those that run are called: "strategy", or NAME."""
        return [table.removeprefix("strategies.") for table in self.run]

    def warnings(self) -> list[str]:
        """Say what does not run, a line each."""
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
    """Compare the settings with what the programs start (`strategy_programs`)."""
    tables = settings.all_strategies()
    started = set(programs.values())
    return StackStrategies(
        {table: strategy for table, strategy in tables.items() if table in started},
        [table for table in tables if table not in started and table != "strategy"],
        {program: table for program, table in programs.items() if table not in tables},
    )


def strategy_programs(configuration: Path = SUPERVISORD_CONF) -> dict[str, str]:
    """Return the strategy that each program of a configuration starts, by program, if any.

    "strategy" is started by `run-role strategy`, "strategies.NAME" by `run-role strategy NAME`. A
    file that cannot be read has no programs; supervisord says why.
    """
    # As supervisord reads it (supervisor 4.3: options.py).
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        parser.read(configuration, encoding="utf-8")
    programs = {}
    for section in parser.sections():
        kind, _, program = section.partition(":")
        table = _strategy_of(parser.get(section, "command", fallback=""))
        if kind == "program" and table:
            programs[program] = table
    return programs


def _strategy_of(command: str) -> str:
    """Return the table of the strategy that a command starts; "" if it starts none."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote without its end
        return ""
    for index, word in enumerate(words):
        if Path(word).name == "run-role":
            role, *names = words[index + 1 :] or [""]
            table = "strategies" if names else "strategy"
            return ".".join((table, *names)) if role == "strategy" else ""
    return ""
