"""supervisord's configuration: its programs, and the copy of it for a var directory.

`etc/supervisord.conf` is the only one to edit. A stack in another var directory runs with a copy of
it, generated at each start, without its comments.
"""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Collection
from configparser import RawConfigParser
from io import StringIO
from pathlib import Path
from typing import Final, NamedTuple

from lib.errors import CannotStartError
from lib.settings import PROJECT_ROOT

CONFIGURATION: Final = PROJECT_ROOT / "etc" / "supervisord.conf"
"""The configuration to edit."""

RUN_ROLE: Final = "run-role"
"""The script in `etc` that runs the role of its first argument."""
PROGRAM: Final = "program:"
"""The prefix of the section of a program."""
STOP_RESERVE_S: Final = 5.0
"""How much longer supervisord may take to stop a stack than the stopwaitsecs of its programs
together. Without a hung role it takes about a second in all."""
DEFAULT_STOP_WAIT_S: Final = 10.0
"""The default of stopwaitsecs: how long a program may take to end."""
_IN_VAR: Final = re.compile(r"%\(here\)s(/\.\.)+/var\b")
"""How a configuration in `etc`, or in a directory below, names the var directory."""
_FALSE: Final = ("no", "false", "off", "0")
"""The words for false in supervisord's configuration (4.3: options.py, datatypes.py)."""


class Program(NamedTuple):
    """A `[program:NAME]` of supervisord's configuration."""

    name: str
    arguments: tuple[str, ...]
    """The arguments of `run-role`, the role first; () if the program is none of our roles."""
    autostart: bool
    """Whether it is started together with supervisord."""

    @property
    def role(self) -> str:
        """The role that it runs, "" if it is none of ours."""
        return self.arguments[0] if self.arguments else ""


def parse_configuration(text: str) -> RawConfigParser:
    """Parse a supervisord configuration as supervisord does. Raises configparser.Error."""
    # Its options.py: a section may occur twice, and "%" is not configparser's.
    parser = RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    return parser


def configuration_text(parser: RawConfigParser) -> str:
    """Return a parsed configuration as text. It has the same options, and no comments."""
    text = StringIO()
    parser.write(text, space_around_delimiters=False)
    return text.getvalue()


def programs_of(configuration: str) -> list[Program]:
    """Return the programs of a supervisord configuration, given as text, in its order. Pure.

    An invalid configuration is left to supervisord to report.
    """
    parser = _parsed(configuration)
    return [
        Program(
            name,
            role_arguments(parser.get(section, "command", fallback="")),
            parser.get(section, "autostart", fallback="true").lower() not in _FALSE,
        )
        for name, section in _program_sections(parser)
    ]


def stop_limit_s(configuration: str) -> float:
    """Return how long supervisord may take to stop these programs and to end, in s. Pure.

    It stops them one after the other, and kills a program that hangs after its stopwaitsecs.
    """
    parser = _parsed(configuration)
    return STOP_RESERVE_S + sum(
        _seconds(parser.get(section, "stopwaitsecs", fallback=""))
        for _, section in _program_sections(parser)
    )


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:  # not given, or invalid, which supervisord reports
        return DEFAULT_STOP_WAIT_S


def _parsed(configuration: str) -> RawConfigParser:
    try:
        return parse_configuration(configuration)
    except configparser.Error:
        return RawConfigParser()


def _program_sections(parser: RawConfigParser) -> list[tuple[str, str]]:
    """Return the name and the section of each program."""
    return [
        (section.removeprefix(PROGRAM).strip(), section)
        for section in parser.sections()
        if section.startswith(PROGRAM)
    ]


def role_arguments(command: str) -> tuple[str, ...]:
    """Return the arguments of `run-role` in a command, () if it runs none of our roles."""
    try:
        words = shlex.split(command)
    except ValueError:  # an unbalanced quotation mark
        return ()
    names = [word.rpartition("/")[2] for word in words]
    # Words before it, such as nice or env, do not matter.
    return tuple(words[names.index(RUN_ROLE) + 1 :]) if RUN_ROLE in names else ()


def read_configuration(path: Path = CONFIGURATION) -> str:
    """Return the text of a configuration. Raises CannotStartError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise CannotStartError(f"cannot read {path}: {reason}") from None


def started_programs(configuration: str) -> dict[str, str]:
    """Return the programs that supervisord starts with this configuration, with their roles. Pure.

    Programs that run none of our roles are left out.
    """
    return {
        program.name: program.role
        for program in programs_of(configuration)
        if program.autostart and program.role
    }


def derive_configuration(original: str, source: Path, left_out: Collection[str] = ()) -> str:
    """Return the copy of a configuration for a var directory, without some programs.

    `original` is what is in `source`, a file in `etc` or below. In the copy, %(here)s is the var
    directory, and other paths are absolute. An invalid configuration is copied as it is, for
    supervisord to report.
    """
    try:
        parser = parse_configuration(original)
    except configparser.Error:
        return original
    for name, section in _program_sections(parser):
        if name in left_out:
            parser.remove_section(section)
    for options in parser.values():
        for key, value in options.items():
            in_var = _IN_VAR.sub("%(var)s", value).replace("%(here)s", str(source.parent))
            options[key] = in_var.replace("%(var)s", "%(here)s")
    header = f"; Written by main.py at each start, from {source}: change that one."
    return f"{header}\n{configuration_text(parser)}"
