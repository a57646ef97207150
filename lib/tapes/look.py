"""The text that shows what would be played of a file: `python -m lib.tapes FILE`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from lib.prices import PRICE_SCALE, format_price, units_of
from lib.tapes.chart import ASCII, BLOCKS, Survey, draw, survey
from lib.tapes.findings import Findings, SymbolFindings
from lib.tapes.tape import Sentiments, Tape
from lib.text import printable

SHOWN_TICKS: Final = 5
"""How many ticks are shown, of the beginning and of the end."""
SHOWN_SYMBOLS: Final = 20
"""How many symbols are listed: those with the most ticks."""
CHARTED_SYMBOLS: Final = 4
"""How many symbols have a chart: those with the most ticks."""
ONE_CHART_ROWS: Final = 8
"""The height of the chart of a tape with one symbol."""
CHART_ROWS: Final = 4
"""The height of each chart of a tape with several symbols."""
MIN_CHART_COLUMNS: Final = 20
"""The width of a chart in a terminal that is too narrow for it."""
SENTIMENT: Final = "sentiment"
"""The name under which sentiments are shown, as if they were the prices of a symbol."""


class SentimentTape:
    """Sentiments as a `Tape` of one symbol, to be shown as one."""

    def __init__(self, sentiments: Sentiments) -> None:
        self.length: Final = sentiments.length
        self.identity: Final = sentiments.identity
        self._sentiments = sentiments

    def read(self, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """See `Tape.read`."""
        values = np.array(self._sentiments.read(first, count), np.int64)
        return np.zeros(len(values), np.int32), values * PRICE_SCALE


def most_ticks(findings: Findings, count: int) -> list[str]:
    """Return the symbols with the most ticks, at most `count`, in the order of the settings."""
    by_ticks = sorted(findings.symbols, key=lambda name: -findings.symbols[name].ticks)
    chosen = set(by_ticks[:count])
    return [name for name in findings.symbols if name in chosen]


def look_lines(
    title: str,
    findings: Findings,
    tape: Tape,
    symbols: Sequence[str],
    *,
    columns: int,
    unicode: bool,
) -> Iterator[str]:
    """Yield what is shown of a tape, line by line, safe for a terminal of so many `columns`.

    `symbols` are those that the indices of the tape stand for. The warnings come last: that is
    where a person looks first. `unicode` says whether the terminal shows more than ASCII.
    """
    yield printable(title)
    yield from (f"  {printable(line)}" for line in findings.recognised)
    charted = most_ticks(findings, CHARTED_SYMBOLS)
    indices = [symbols.index(name) for name in charted]
    seen = survey(tape, len(symbols), indices, max(MIN_CHART_COLUMNS, columns))
    yield ""
    yield from _symbol_lines(findings, symbols, seen)
    yield ""
    yield from _tick_lines(tape, symbols)
    for name in charted:
        yield ""
        yield from _chart_lines(name, symbols.index(name), len(charted), seen, unicode=unicode)
    yield ""
    yield from _warning_lines(findings)


def _symbol_lines(findings: Findings, symbols: Sequence[str], seen: Survey) -> Iterator[str]:
    shown = most_ticks(findings, SHOWN_SYMBOLS)
    rows = [["symbol", "ticks", "share", "first", "last", "lowest", "highest"]]
    for name in shown:
        one, index = findings.symbols[name], symbols.index(name)
        edges = (units_of(one.first), units_of(one.last))
        prices = map(format_price, (*edges, int(seen.lowest[index]), int(seen.highest[index])))
        rows.append([name, f"{one.ticks:,}", _share(one.ticks, findings.length), *prices])
    yield from _aligned(rows)
    if more := len(findings.symbols) - len(shown):
        yield f"and {more:,} more symbols with fewer ticks"


def _tick_lines(tape: Tape, symbols: Sequence[str]) -> Iterator[str]:
    assert tape.length is not None
    beginning = min(SHOWN_TICKS, tape.length)
    end = max(beginning, tape.length - SHOWN_TICKS) + 1
    rows = [("tick", "symbol", "price"), *_ticks(tape, symbols, 1)]
    if end > beginning + 1:
        rows.append(("...", "", ""))
    yield from _aligned([*rows, *_ticks(tape, symbols, end)], left=1)


def _ticks(tape: Tape, symbols: Sequence[str], first: int) -> Iterator[tuple[str, str, str]]:
    for number, (index, price) in enumerate(zip(*tape.read(first, SHOWN_TICKS), strict=True)):
        yield f"{first + number:,}", symbols[index], format_price(int(price))


def _chart_lines(
    name: str, index: int, charts: int, seen: Survey, *, unicode: bool
) -> Iterator[str]:
    lowest, highest = (format_price(int(of[index])) for of in (seen.lowest, seen.highest))
    yield printable(f"{name}, {lowest} to {highest}")
    rows = CHART_ROWS if charts > 1 else ONE_CHART_ROWS
    yield from draw(seen.courses[index], rows, BLOCKS if unicode else ASCII)


def _warning_lines(findings: Findings) -> Iterator[str]:
    for warning in findings.warnings:
        yield f"warning: {printable(warning)}"
    others = sum(findings.other_symbols.values())
    rows = findings.length + findings.skipped + others
    if others:  # a warning says which
        share = _share(others, rows)
        yield f"of symbols that are not configured: {others:,} of {rows:,} rows ({share})"
    yield f"skipped: {findings.skipped:,} of {rows:,} rows ({_share(findings.skipped, rows)})"


def _share(part: int, whole: int) -> str:
    """Return a part in percent; never as none of it, or as all of it, if it is not."""
    percent = 100 * part / whole if whole else 0.0
    if part and percent < 0.1:
        return "< 0.1 %"
    if part < whole and percent > 99.9:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def _aligned(rows: Sequence[Sequence[str]], left: int = 0) -> Iterable[str]:
    """Align columns to the right, the one numbered `left` to the left."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(
            f"{cell:<{width}}" if number == left else f"{cell:>{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


def sentiment_findings(findings: Findings, sentiments: Sentiments) -> Findings:
    """Return what was found of sentiments, with SENTIMENT as their symbol."""
    assert sentiments.length is not None
    first, last = sentiments.read(1, 1)[0], sentiments.read(sentiments.length, 1)[0]
    one = SymbolFindings(ticks=sentiments.length, first=str(first), last=str(last))
    return replace(findings, symbols={SENTIMENT: one})
