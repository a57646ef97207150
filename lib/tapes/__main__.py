"""Look at what a file would play, or record what a running stack plays.

    python -m lib.tapes FILE                          what would be played; changes nothing
    python -m lib.tapes --query "SELECT …"            the same of SQL, instead of a file
    python -m lib.tapes record [--minutes N] FILE.parquet
    python -m lib.tapes record --join FILE.parquet    of a recording that was cut off

What is shown is read by the same program with the same rules as for the gateway, in a temporary
directory that is removed. A file is a pattern, too: 'tapes/2025-*.csv'.

Exit codes: 0, 1 if it would be refused, 2 for a wrong command line, 78 for invalid settings, 130
after Ctrl-C, each with a line that says why.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import structlog

from lib.settings import (
    EXIT_BAD_SETTINGS,
    FILE_SOURCE,
    Settings,
    SettingsError,
    load_settings,
    symbol_problem,
)
from lib.stack.log_follower import event_text
from lib.stack.long_program import (
    MINUTE_S,
    CommandLine,
    output_file,
    positive_number,
    run_interruptible,
)
from lib.stack.progress_bar import ProgressBar
from lib.stack.recording import record_stack
from lib.tape_files.own_process import prepare_apart
from lib.tape_files.parts import join_parts
from lib.tapes.chart import survey
from lib.tapes.findings import Findings
from lib.tapes.look import (
    CHARTED_SYMBOLS,
    SENTIMENT,
    SentimentTape,
    look_lines,
    most_ticks,
    sentiment_findings,
)
from lib.tapes.prepared import PreparedSentiments, PreparedTape
from lib.tapes.recipe import Recipe, TickRecipe, TimeOrder, kind_of, recipes
from lib.tapes.recording_files import news_file, parts_directory
from lib.tapes.tape import Tape, TapeError
from lib.text import printable, shown

PROGRAM: Final = "python -m lib.tapes"
RECORD: Final = "record"
EXIT_REFUSED: Final = 1
EXIT_NOTHING: Final = 1
PROGRESS_S: Final = 3.0
"""How often a line says how far it is, where there is no terminal for a bar."""
PLOT_SUFFIXES: Final = (".png", ".svg", ".pdf")
PLOT_COLUMNS: Final = 1000
"""How many stretches of a tape a plot distinguishes."""


def main() -> int:
    """Do what the command line says. Returns the exit code."""
    command_line = sys.argv[1:]
    if command_line[:1] == [RECORD]:
        return _record(command_line[1:])
    arguments = _parse_command_line(command_line)
    try:
        recipe = _recipe(arguments, load_settings(arguments.config))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    return run_interruptible(partial(_look, arguments, recipe), "stopped; nothing is changed")


def _parse_command_line(command_line: list[str]) -> argparse.Namespace:
    parser = CommandLine(PROGRAM, __doc__)
    parser.add_argument("file", metavar="FILE", nargs="?", default="", help="or a pattern of files")
    parser.add_argument("--query", metavar="SQL", default="", help="what to play, instead of FILE")
    parser.add_argument(
        "--symbols",
        metavar="A,B",
        type=_symbols,
        help="what the stack would trade (default: symbols of the settings)",
    )
    parser.add_argument(
        "--symbol",
        metavar="S",
        help="the symbol of a file without a symbol column (default: that of the settings)",
    )
    parser.add_argument(
        "--time-order",
        choices=get_args(TimeOrder),
        help="the order of playing (default: that of the settings)",
    )
    parser.add_argument("--news", action="store_true", help="it is a file of sentiments")
    parser.add_argument("--json", action="store_true", help="for programs, on standard output")
    parser.add_argument(
        "--plot", metavar="FILE.png", type=_plot_file, help="draw the prices into a file"
    )
    _add_settings(parser)
    arguments = parser.parse_args(command_line)
    if not arguments.file and not arguments.query:
        parser.error("give a FILE, or a --query")
    if arguments.query and Path(arguments.file).name not in arguments.query:
        parser.error(
            f"--query is played instead of a FILE, and does not name {arguments.file}: "
            f"FROM '{arguments.file}'"
        )
    return arguments


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="the settings (default: $TRADING_CONFIG, else etc/trading.toml)",
    )


def _symbols(text: str) -> tuple[str, ...]:
    symbols = tuple(text.split(","))
    for symbol in symbols:
        if problem := symbol_problem(symbol):
            raise argparse.ArgumentTypeError(f"{problem}, got {symbol!r}")
        if symbols.count(symbol) > 1:
            raise argparse.ArgumentTypeError(f"{symbol} is there twice")
    return symbols


def _plot_file(text: str) -> Path:
    if Path(text).suffix not in PLOT_SUFFIXES:
        raise argparse.ArgumentTypeError(f"must end in {', '.join(PLOT_SUFFIXES)}, got {text!r}")
    return output_file(text)


def _recipe(arguments: argparse.Namespace, settings: Settings) -> Recipe:
    """Return what a gateway would play whose settings say what the command line says."""
    replace = msgspec.structs.replace
    path = None if arguments.query else Path(arguments.file).absolute()
    if arguments.news:
        gateway = replace(settings.gateway, news_path=path, news_query=arguments.query)
    else:
        own = {"symbol": arguments.symbol, "time_order": arguments.time_order}
        own = {key: value for key, value in own.items() if value is not None}
        gateway = replace(
            settings.gateway, source=FILE_SOURCE, path=path, query=arguments.query, **own
        )
    symbols = arguments.symbols or settings.symbols
    ticks, news = recipes(replace(settings, symbols=symbols, gateway=gateway))
    recipe = news if arguments.news else ticks
    assert recipe is not None
    return recipe


def _look(arguments: argparse.Namespace, recipe: Recipe) -> int:
    """Show it once the temporary directory is removed: the reader may be slow, or gone."""
    code = 0
    try:
        lines = _looked_lines(arguments, recipe)
    except TapeError as error:
        code = EXIT_REFUSED
        if not arguments.json:
            print(printable(str(error)), file=sys.stderr)
            return code
        lines = [_json(recipe, Findings(), str(error))]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end silently if the reader is gone (`| head`)
    print("\n".join(lines), flush=True)
    return code


def _looked_lines(arguments: argparse.Namespace, recipe: Recipe) -> list[str]:
    """Prepare it in a temporary directory; return what to print. Raises TapeError."""
    try:
        temporary = tempfile.TemporaryDirectory(prefix="tw-tape-")
    except OSError as error:  # a full disk
        raise TapeError(f"cannot make a temporary directory: {error.strerror}") from None
    with temporary as name:
        directory = Path(name)
        progress = _ProgressDisplay()
        try:
            prepare_apart(recipe, directory, progress.show)
        finally:
            progress.end()
        tape: Tape
        if isinstance(recipe, TickRecipe):
            tape = ticks = PreparedTape(directory)
            findings, symbols = ticks.about.findings, ticks.about.symbols
        else:
            sentiments = PreparedSentiments(directory)
            tape, symbols = SentimentTape(sentiments), (SENTIMENT,)
            findings = sentiment_findings(sentiments.about.findings, sentiments)
        if arguments.plot:
            _plot(arguments.plot, tape, symbols, most_ticks(findings, CHARTED_SYMBOLS))
        if arguments.json:
            return [_json(recipe, findings)]
        title = recipe.path or "the query"
        columns = shutil.get_terminal_size().columns
        unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        shown = look_lines(title, findings, tape, symbols, columns=columns, unicode=unicode)
        return list(shown)


class _ProgressDisplay:
    """A bar on a terminal; elsewhere a line every PROGRESS_S seconds."""

    def __init__(self) -> None:
        self._bar = ProgressBar.on_stderr()
        self._line_s = time.monotonic() + PROGRESS_S

    def show(self, what: str, share: float) -> None:
        """Show what is done at the moment, and how far it is."""
        text = f"{share:4.0%} {what}"
        self._bar.draw(share, text)
        if not self._bar.is_shown and time.monotonic() >= self._line_s:
            self._line_s = time.monotonic() + PROGRESS_S
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Remove the bar."""
        self._bar.erase()


def _json(recipe: Recipe, findings: Findings, error: str | None = None) -> str:
    """Return the findings for programs."""
    figures: dict[str, Any] = {kind_of(recipe): findings.length}
    if isinstance(recipe, TickRecipe):
        figures["symbols"] = findings.symbols
    figures |= {"skipped": findings.skipped, "warnings": findings.warnings, "error": error}
    return msgspec.json.encode(figures).decode()


def _plot(file: Path, tape: Tape, symbols: Sequence[str], charted: Sequence[str]) -> None:
    """Draw the courses of the charted symbols. Raises TapeError if that cannot be done."""
    try:
        from lib.reports.tape_plot import draw_courses
    except ImportError as error:
        raise TapeError(
            f"--plot needs matplotlib ({error}): pip install -r requirements-bench.txt"
        ) from None
    assert tape.length is not None
    indices = [symbols.index(name) for name in charted]
    courses = survey(tape, len(symbols), indices, PLOT_COLUMNS).courses
    try:
        draw_courses(file, dict(zip(charted, courses.values(), strict=True)), tape.length)
    except OSError as error:
        raise TapeError(f"cannot write {file}: {error.strerror}") from None


# Recording


def _record(command_line: list[str]) -> int:
    arguments = _parse_record(command_line)
    file: Path = arguments.file
    try:
        if arguments.join:
            return _join(file)
        if arguments.var_dir is not None:
            os.environ["TRADING_VAR_DIR"] = str(arguments.var_dir.absolute())
        return _run_recording(load_settings(arguments.config), file, arguments.minutes)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    except TapeError as error:
        print(printable(str(error)), file=sys.stderr)
        return EXIT_REFUSED


def _parse_record(command_line: list[str]) -> argparse.Namespace:
    parser = CommandLine(f"{PROGRAM} {RECORD}", "Record what a running stack plays.")
    parser.add_argument(
        "file",
        metavar="FILE.parquet",
        type=_recording_file,
        help="the ticks; the news go into FILE-news.parquet",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--minutes",
        metavar="N",
        type=positive_number("minutes"),
        default=math.inf,
        help="end after so many minutes (default: at the end of the tape, or on Ctrl-C)",
    )
    what.add_argument(
        "--join", action="store_true", help="make FILE.parquet of a recording that was cut off"
    )
    _add_settings(parser)
    parser.add_argument(
        "--var-dir",
        metavar="DIR",
        type=Path,
        help="where the stack's logs are, which say that a tape ends (default: of the settings)",
    )
    return parser.parse_args(command_line)


def _recording_file(text: str) -> Path:
    if not text.endswith(".parquet"):
        raise argparse.ArgumentTypeError(f"must end in .parquet, got {text!r}")
    return output_file(text)


def _join(file: Path) -> int:
    """Make whole files of a recording that was cut off; return the exit code. Raises TapeError."""
    cut_off = [one for one in (news_file(file), file) if parts_directory(one).is_dir()]
    if not cut_off:
        raise TapeError(
            f"nothing to join: {parts_directory(file)} is not there, and is where a recording of "
            f"{file.name} that was cut off would be"
        )
    rows = {one: join_parts(one) for one in cut_off}
    for one, count in rows.items():
        print(f"{count:,} rows in {one}" if count else f"no part was written: no {one}")
    return 0 if any(rows.values()) else EXIT_NOTHING


def _run_recording(settings: Settings, file: Path, minutes: float) -> int:
    """Record until it ends; return the exit code. Raises TapeError."""
    structlog.configure(
        processors=[lambda _logger, _level, event: event_text(dict(event))],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    seconds = None if minutes == math.inf else minutes * MINUTE_S
    done = record_stack(settings, file, seconds, partial(print, file=sys.stderr, flush=True))
    if done.missed:
        print(f"missed: {done.missed:,} ticks, which the gateway no longer had", file=sys.stderr)
    if done.skipped:
        print(
            f"not recorded: {done.skipped:,} frames that are no ticks of the configured symbols, "
            f"or no sentiments; the first is {shown(done.first_skipped)}",
            file=sys.stderr,
        )
    print(f"ended: {done.why_ended}")
    print(f"{done.ticks:,} ticks in {file}" if done.ticks else f"no tick came: no {file}")
    if done.sentiments:
        print(f"{done.sentiments:,} sentiments in {news_file(file)}")
    return 0 if done.ticks else EXIT_NOTHING


if __name__ == "__main__":
    sys.exit(main())
