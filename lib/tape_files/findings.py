"""The findings of a tape: what it has, and one warning for each thing that is odd."""

from __future__ import annotations

import re
from pathlib import Path

from lib.prices import decimal_text
from lib.tape_files.listing import counted, listed, percent, plural
from lib.tape_files.reading import Reading, TickReading
from lib.tape_files.sentiment_reading import HIGHEST_SENTIMENT
from lib.tape_files.tally import TickTally
from lib.tapes.findings import Findings, SymbolFindings
from lib.tapes.tape import TapeError


def tick_findings(reading: TickReading, title: str) -> Findings:
    """Return the findings. Raises TapeError if there is no tick; `title` names the source."""
    tally, symbols = reading.tally, reading.recipe.symbols
    noun = "cell" if reading.is_wide else "row"
    skips = reading.skip_warnings(noun)
    if not tally.count:
        if len(reading.unplayed) == 1:
            raise TapeError(reading.unplayed[0])
        others = counted(reading.other_symbols)
        raise TapeError(
            f"{title}: has no price that can be played of {listed(symbols)}"
            + (f"; {'; '.join(skips)}" if skips else "")
            + (f"; it has {others}" if others else "")
        )
    found = {
        symbol: SymbolFindings(
            ticks=int(tally.counts[index]),
            first=decimal_text(int(tally.first[index])),
            last=decimal_text(int(tally.last[index])),
        )
        for index, symbol in enumerate(symbols)
        if tally.counts[index]
    }
    _check_file_names(reading)
    warnings = [*dict.fromkeys([*reading.warnings, *reading.unplayed]), *skips]
    if reading.recipe.time_order == "as-is":
        warnings += _order_warnings(tally, found)
    if tally.rounded:
        warnings.append(
            f"rounded: {plural(tally.rounded, 'price')} ({percent(tally.rounded, tally.count)}) "
            f"had more than 8 decimals; by up to {100 * tally.largest_rounding:.2g} % of the price"
        )
    if missing := [symbol for symbol in symbols if symbol not in found]:
        warnings.append(f"no tick of configured symbols: {listed(missing)}")
    if reading.other_symbols:
        warnings.append(
            f"symbols that are not configured, with their {noun}s: {counted(reading.other_symbols)}"
        )
    return Findings(
        recognised=list(dict.fromkeys(reading.recognised)),
        symbols=found,
        skipped=sum(reading.skipped.values()),
        other_symbols=reading.other_symbols,
        warnings=warnings,
    )


def sentiment_findings(reading: Reading, title: str, length: int) -> Findings:
    """Return the findings of `length` sentiments. Raises TapeError if there is none."""
    warnings = [*dict.fromkeys(reading.warnings), *reading.skip_warnings("row")]
    if not length:
        raise TapeError(
            "; ".join([f"{title}: has no sentiment from 0 to {HIGHEST_SENTIMENT}", *warnings])
        )
    return Findings(
        recognised=list(dict.fromkeys(reading.recognised)),
        skipped=sum(reading.skipped.values()),
        warnings=warnings,
    )


def _check_file_names(reading: TickReading) -> None:
    """Raise TapeError if files of several symbols would be played as one: their names say it."""
    symbols, files = reading.recipe.symbols, reading.of_one_symbol
    named = {file: [s for s in symbols if _is_named(s, Path(file).name)] for file in files}
    first = next((file for file in files if named[file]), None)
    other = next((file for file in files if first and named[file] != named[first]), None)
    if first and other:
        raise TapeError(
            f"{other}: has no symbol, and would be played as the same one as {first}, whose name "
            "says its symbol: play files of one symbol, or with a query: SELECT "
            "parse_filename(filename, true) AS symbol, … FROM read_csv('…/*.csv', filename = true)"
        )


def _is_named(symbol: str, name: str) -> bool:
    pattern = f"(?<![a-z0-9]){re.escape(symbol.casefold())}(?![a-z0-9])"
    return bool(re.search(pattern, name.casefold()))


_SORT = 'time_order = "sort" plays them by time'


def _order_warnings(tally: TickTally, found: dict[str, SymbolFindings]) -> list[str]:
    warnings = []
    if tally.backward and not tally.backward_in_symbol:
        warnings.append(
            "grouped by symbol: the times of each symbol are in order, and run backwards "
            f"{plural(tally.backward, 'time')} where the symbol changes; {_SORT}, interleaved"
        )
    elif tally.backward:
        newest = " (newest first)" if 2 * tally.backward >= tally.timed else ""
        warnings.append(
            f"times run backwards{newest}: {plural(tally.backward, 'time')} in {tally.timed:,} "
            f"ticks, to an earlier one than before; {_SORT}, oldest first"
        )
    elif not tally.timed and tally.runs == len(found) > 1 and tally.count >= 2 * len(found):
        warnings.append(
            "grouped by symbol: all ticks of one symbol come before those of the next, and no time "
            "says how they interleave"
        )
    if tally.untimed:
        warnings.append(f"times not understood: {plural(tally.untimed, 'tick')} of {tally.count:,}")
    return warnings
