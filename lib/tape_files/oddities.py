"""The findings of a tape of ticks: what it has, and one warning for each thing that is odd."""

from __future__ import annotations

from lib.prices import decimal_text
from lib.tape_files.listing import counted, listed, percent, plural
from lib.tape_files.tally import TickTally
from lib.tape_files.tick_reading import TickReading
from lib.tapes.findings import Findings, SymbolFindings
from lib.tapes.tape import TapeError


def tick_findings(reading: TickReading, title: str) -> Findings:
    """Return the findings. Raises TapeError if there is no tick; `title` names the source."""
    tally, symbols = reading.tally, reading.recipe.symbols
    noun = "cell" if reading.is_wide else "row"
    skips = reading.skips.warnings(reading.rows, noun)
    if not tally.count:
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
    warnings = [*dict.fromkeys(reading.warnings), *skips]
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
        skipped=reading.skips.total,
        other_symbols=reading.other_symbols,
        warnings=warnings,
    )


_SORT = 'time_order = "sort" plays them by time'


def _order_warnings(tally: TickTally, found: dict[str, SymbolFindings]) -> list[str]:
    warnings = []
    if tally.backward and not tally.backward_in_symbol:
        warnings.append(
            f"grouped by symbol: the times of each symbol are in order, and run backwards "
            f"{tally.backward:,} times where the symbol changes; {_SORT}, interleaved"
        )
    elif tally.backward:
        newest = " (newest first)" if 2 * tally.backward > tally.timed else ""
        warnings.append(
            f"times run backwards{newest}: {plural(tally.backward, 'tick')} of {tally.timed:,} "
            f"are earlier than the one before; {_SORT}, oldest first"
        )
    elif not tally.timed and tally.runs == len(found) > 1 and tally.count >= 2 * len(found):
        warnings.append(
            "grouped by symbol: all ticks of one symbol come before those of the next, and no time "
            "says how they interleave"
        )
    if tally.untimed:
        warnings.append(f"times not understood: {plural(tally.untimed, 'tick')} of {tally.count:,}")
    return warnings
