"""How the times of a column are written, and the SQL that reads them.

A column that joins a date and a clock has one blank between them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Final, NamedTuple

from lib.tape_files.number_format import is_missing
from lib.tape_files.table import HEAD_ROWS

MIN_UNDERSTOOD_SHARE: Final = 0.9
"""The smallest share of the samples that must be times in one format."""
MAX_NS: Final = 2**63 - 1
"""The last time that there is, in nanoseconds since 1970: in 2262."""
MAX_FORMATS: Final = 8
"""How many ways to write its times a column may mix; rarer ones are not understood."""
COLUMN: Final = "{}"
"""The placeholder of the column in `TimeFormat.sql`."""


class TimeFormat(NamedTuple):
    """How a column of times is written."""

    name: str
    """For people: ``YYYY-MM-DD``, ``milliseconds since 1970``, …"""
    sql: str
    """BIGINT nanoseconds since 1970 (UTC where a zone is given), or NULL, of the VARCHAR COLUMN."""
    is_order_only: bool = False
    """Whether day and month may be the wrong way round, which changes nothing in the order of the
    samples: not to be compared with the times of another file."""

    def of(self, column: str) -> str:
        """Return the SQL for a column, which is itself SQL that gives VARCHAR."""
        return self.sql.replace(COLUMN, column)


def find_time_format(samples: Sequence[str]) -> TimeFormat | None:
    """Return the format of a column, from its first cells; None if there is none.

    Those that are missing count: fewer than HEAD_ROWS are all cells of the column. Where a day and
    a month can be either (01/02/2024), that is right in which the times run in one direction. If
    both do, and not in the same order, or neither, there is no format: see `time_ambiguity`.
    """
    return _format_of(_values(samples), len(samples) < HEAD_ROWS)


def is_time_like(cell: str) -> bool:
    """Whether a cell is a date, a clock, or both, in any format; a count since 1970 is a number."""
    dated = f"{_ANY_DAY} {cell}" if ":" in cell[:3] else cell
    return bool(_ISO.fullmatch(cell) or _PARTS.fullmatch(dated))


def time_ambiguity(samples: Sequence[str]) -> str:
    """Return why cells that are dates have no format; "" if they have one, or are no dates."""
    cells = _values(samples)
    matches = _parts(cells)
    if find_time_format(samples) or not _are_enough(len(matches), cells):
        return ""
    readings = _readings(matches)
    shown = next(match[0] for match in matches if match["first"])
    if not readings:
        return f"times like {shown} are neither all day, month, year nor all month, day, year"
    return f"times like {shown} can be {' or '.join(map(str, readings))}"


def _values(samples: Sequence[str]) -> list[str]:
    """Return the cells that hold something; a date and a clock can both be missing."""
    cells = [cell.strip() for cell in samples]
    return [cell for cell in cells if not all(map(is_missing, cell.split(" ")))]


def _format_of(cells: list[str], are_all: bool) -> TimeFormat | None:
    """Return the format of the cells that hold something; `are_all` if no others follow them."""
    return (
        _epoch(cells)
        or _iso(cells)
        or _written(cells, are_all)
        or _clock_alone(cells, are_all)
        or _with_zone(cells, are_all)
    )


# --- since 1970 -----------------------------------------------------------------------------------

_UNITS: Final = {  # by the digits of any time from 1973 to 2286
    (9, 10): ("seconds", 9),
    (12, 13): ("milliseconds", 6),
    (15, 16): ("microseconds", 3),
    (18, 19): ("nanoseconds", 0),
}
_EPOCH: Final = re.compile(r"([1-9][0-9]*)(\.[0-9]*)?")
_MINUTE: Final = re.compile(
    "(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[01][0-9]|2[0-3])[0-5][0-9]"
)
"""202401110930 is a minute, and no time in milliseconds since 1970."""


def _epoch(cells: list[str]) -> TimeFormat | None:
    """Each cell counts by its own digits: a file may change from milliseconds to microseconds."""
    matches = [match for cell in cells if (match := _EPOCH.fullmatch(cell))]
    if _are_enough(sum(bool(_MINUTE.fullmatch(match[0])) for match in matches), cells):
        return None
    lengths = Counter(len(match[1]) for match in matches)
    units = {
        unit: sum(lengths[digits] for digits in unit_digits)
        for unit_digits, (unit, _) in _UNITS.items()
    }
    understood = sum(units.values())
    if not _are_enough(understood, cells):
        return None
    name = " and ".join(unit for unit, count in units.items() if count)
    whole = f"split_part({COLUMN}, '.', 1)"
    cases = " ".join(
        f"WHEN length({whole}) IN {digits} THEN TRY_CAST({whole} || "
        f"left(rpad(split_part({COLUMN}, '.', 2), {places}, '0'), {places}) AS BIGINT)"
        for digits, (_, places) in _UNITS.items()
    )
    # Most cells are whole numbers, which are three times as fast without looking at their text.
    value = f"TRY_CAST({COLUMN} AS BIGINT)"
    quick = " ".join(
        f"WHEN {value} BETWEEN {10 ** (min(digits) - 1)} AND {MAX_NS // 10**places} "
        f"THEN {value} * {10**places}"
        for digits, (_, places) in _UNITS.items()
    )
    is_epoch = f"regexp_full_match({COLUMN}, '{_EPOCH.pattern}')"
    sql = (
        f"CASE WHEN NOT contains({COLUMN}, '.') THEN CASE {quick} END "
        f"WHEN {is_epoch} THEN CASE {cases} END END"
    )
    return TimeFormat(f"{name} since 1970", sql)


# --- ISO 8601 -------------------------------------------------------------------------------------

_ISO: Final = re.compile(
    r"[0-9]{4}([-/])[0-9]{1,2}\1[0-9]{1,2}"
    r"(?:[T ][0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
    r"(?P<zone> ?(?:Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)
_OFFSET: Final = "[:.][0-9]+ ?([+-][0-9]{2})(?::?([0-9]{2}))?$"
_EXTRACT: Final = f"regexp_extract({COLUMN}, '{_OFFSET}'"
# First what nearly all writers write, -05:00: to cut it out is several times as fast as to search.
_OFFSET_SECONDS: Final = f"""(
    CASE WHEN substring({COLUMN}, -3, 1) = ':' AND substring({COLUMN}, -6, 1) IN ('+', '-')
    THEN 3600 * TRY_CAST(substring({COLUMN}, -6, 3) AS BIGINT)
        + 60 * TRY_CAST(substring({COLUMN}, -6, 1) || substring({COLUMN}, -2, 2) AS BIGINT)
    ELSE 3600 * coalesce(TRY_CAST({_EXTRACT}, 1) AS BIGINT), 0)
        + 60 * coalesce(TRY_CAST({_EXTRACT}, 1)[1] || {_EXTRACT}, 2) AS BIGINT), 0)
    END)"""


def _iso(cells: list[str]) -> TimeFormat | None:
    matches = [match for cell in cells if (match := _ISO.fullmatch(cell))]
    if not _are_enough(len(matches), cells):
        return None
    # A cast to TIMESTAMP_NS keeps nanoseconds, ignores an offset and needs no table of zones.
    sql = f"epoch_ns(TRY_CAST({COLUMN} AS TIMESTAMP_NS))"
    sign = matches[0][1]
    name = f"YYYY{sign}MM{sign}DD"
    if any(":" in match[0] for match in matches):
        name += " and a clock"
    if any((match["zone"] or "").strip()[:1] in ("+", "-") for match in matches if match["zone"]):
        sql = f"{sql} - 1000000000 * {_OFFSET_SECONDS}"
        name += " with an offset"
    return TimeFormat(name, sql)


# --- other dates and clocks -------------------------------------------------------------------

_ANY_DAY: Final = "2000-01-01"
_CENTURIES: Final = ("19", "20", "21")
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)
_MONTH_FORMATS: Final = {month[:3]: "%b" for month in _MONTHS} | {
    month: "%B" for month in _MONTHS if len(month) > 3
}
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAY_FORMATS: Final = {day[:3]: "%a" for day in _WEEKDAYS} | dict.fromkeys(_WEEKDAYS, "%A")
_YEAR_FORMATS: Final = {2: "%y", 4: "%Y"}
_PARTS: Final = re.compile(
    r"(?:(?P<weekday>[A-Za-z]{3,9})(?P<after_weekday>,? ))?"
    r"(?:(?P<ymd>[0-9]{4}(?P<ymd_sign>[-/.])[0-9]{1,2}(?P=ymd_sign)[0-9]{1,2})"
    r"|(?P<cjk>[0-9]{4}年[0-9]{1,2}月[0-9]{1,2}日)"
    r"|(?P<year_month>[0-9]{4}-[0-9]{2})"
    r"|(?P<compact>[0-9]{8})"
    r"|(?P<first>[0-9]{1,2})(?P<sign>[-/.])(?P<second>[0-9]{1,2})(?P=sign)"
    r"(?P<third>[0-9]{4}|[0-9]{2})"
    r"|(?P<day>[0-9]{1,2})(?P<s1>[-/ ]?)(?P<month>[A-Za-z]{3,9})(?P<s2>[-/ ]?|, |\. )"
    r"(?P<year>[0-9]{4}|[0-9]{2})"
    r"|(?P<month_first>[A-Za-z]{3,9})(?P<s3>\.? |-)(?P<day_second>[0-9]{1,2})(?P<s4>,? |-)"
    r"(?P<year_last>[0-9]{4}))"
    r"(?:(?P<before_clock>T|,? {1,2})?(?P<clock>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?|[0-9]{9}|[0-9]{6}"
    r"|[0-9]{4})(?P<fraction>[.,][0-9]{1,9})?(?P<half> ?[AaPp][Mm])?"
    r"(?P<zone> ?(?:UTC|GMT|Z)?)(?P<offset>[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_OFFSET_FORMAT: Final = "%z"
_SHOWN: Final = (
    *(("%Y", "YYYY"), ("%y", "YY"), ("%m", "MM"), ("%d", "DD"), ("%b", "Jan"), ("%B", "January")),
    *(("%a", "Mon"), ("%A", "Monday")),
)


class _Reading(NamedTuple):
    """Which of three numbers is what."""

    letters: str
    """``d``, ``m`` and ``y``, in the order of the numbers."""

    def date_format(self, sign: str, year: str) -> str:
        """Return how strptime reads it."""
        letters = self.letters.replace("y", _YEAR_FORMATS[len(year)][1])
        return sign.join(f"%{letter}" for letter in letters)

    def date(self, numbers: tuple[str, str, str]) -> date:
        """Raises ValueError if there is no such day."""
        part = dict(zip(self.letters, map(int, numbers), strict=True))
        return date(part["y"] if part["y"] > 99 else 2000 + part["y"], part["m"], part["d"])

    def __str__(self) -> str:
        return ", ".join({"d": "day", "m": "month", "y": "year"}[letter] for letter in self.letters)


_DAY_FIRST, _MONTH_FIRST, _YEAR_FIRST = _Reading("dmy"), _Reading("mdy"), _Reading("ymd")


def _written(cells: list[str], are_all: bool) -> TimeFormat | None:
    matches = _parts(cells)
    if not _are_enough(len(matches), cells):
        return None
    readings = _readings(matches)
    if not readings and any(match["first"] for match in matches):
        return None
    if len(readings) > 1 and not (are_all and _are_alike(readings, matches)):
        return None
    reading = readings[0] if readings else _DAY_FIRST
    formats = Counter(
        (_date_format(match, reading), _clock_format(match)) for match in matches
    ).most_common(MAX_FORMATS)
    has_offset = _OFFSET_FORMAT in formats[0][0][1]
    both = dict.fromkeys(
        day + variant
        for (day, clock), _ in formats
        for variant in (clock, *_siblings(clock))
        if (_OFFSET_FORMAT in clock) == has_offset  # those with and without have different types
    )
    # A year of two digits first: %Y reads 24 as the year 24, but %y does not read 2024.
    listed = ", ".join(f"'{text}'" for text in sorted(both, key=lambda text: "%y" not in text))
    parsed = f"try_strptime({COLUMN}, [{listed}])"
    if has_offset:
        parsed = f"({parsed} AT TIME ZONE 'UTC')"
    name = formats[0][0][0].strip()
    if len(readings) > 1:
        name = f"{reading}, or {readings[1]}, in the same order"
    for directive, shown in _SHOWN:
        name = name.replace(directive, shown)
    if formats[0][0][1]:
        name += " and a clock"
    if has_offset:
        name += " with an offset"
    sql = f"epoch_ns(TRY_CAST({parsed} AS TIMESTAMP_NS))"
    return TimeFormat(name, sql, is_order_only=len(readings) > 1)


def _clock_alone(cells: list[str], are_all: bool) -> TimeFormat | None:
    """Return the format of clock times that run in one direction, all of one day therefore."""
    if not are_all or not all(":" in cell[:3] for cell in cells):
        return None
    dated = [f"{_ANY_DAY} {cell}" for cell in cells]
    found = _iso(dated) or _written(dated, are_all)
    matches = _parts(dated)
    if not found or not _is_straight([(date.min, _clock_seconds(match)) for match in matches]):
        return None
    return TimeFormat("a clock", found.of(f"('{_ANY_DAY} ' || {COLUMN})"), is_order_only=True)


_ZONE: Final = re.compile(r"(?: ?\[| )(?!(?i:am|pm)$)[A-Za-z_]+(?:/[A-Za-z_]+)*\]?$")
"""The name of a time zone: ` EST`, ` US/Eastern`, `[America/New_York]`."""


def _with_zone(cells: list[str], are_all: bool) -> TimeFormat | None:
    """Return the format of times that all end in the same name of a zone; it is not looked up."""
    zones = {match[0] if (match := _ZONE.search(cell)) else "" for cell in cells}
    zone = zones.pop() if len(zones) == 1 else ""
    found = _format_of([cell.removesuffix(zone) for cell in cells], are_all) if zone else None
    if not found:
        return None
    bare = f"CASE WHEN suffix({COLUMN}, '{zone}') THEN left({COLUMN}, -{len(zone)}) END"
    return TimeFormat(f"{found.name}{zone}", found.of(f"({bare})"), is_order_only=True)


def _parts(cells: list[str]) -> list[re.Match[str]]:
    matches = (_PARTS.fullmatch(cell) for cell in cells)
    return [match for match in matches if match and _are_names(match) and _is_day(match)]


def _are_names(match: re.Match[str]) -> bool:
    month, weekday = match["month"] or match["month_first"] or "may", match["weekday"] or "mon"
    return month.lower() in _MONTH_FORMATS and weekday.lower() in _WEEKDAY_FORMATS


def _is_day(match: re.Match[str]) -> bool:
    if not (digits := match["compact"]):
        return True
    return _is_date(_YEAR_FIRST, (digits[:4], digits[4:6], digits[6:])) and digits[:2] in _CENTURIES


def _date_format(match: re.Match[str], reading: _Reading) -> str:
    text = ""
    if weekday := match["weekday"]:
        text = f"{_WEEKDAY_FORMATS[weekday.lower()]}{match['after_weekday']}"
    if match["cjk"]:
        return text + "%Y年%m月%d日"
    if match["year_month"]:
        return text + "%Y-%m"
    if match["ymd"]:
        return text + match["ymd_sign"].join(("%Y", "%m", "%d"))
    if match["compact"]:
        return text + "%Y%m%d"
    if match["first"]:
        return text + reading.date_format(match["sign"], match["third"])
    if match["month"]:
        month, year = _MONTH_FORMATS[match["month"].lower()], _YEAR_FORMATS[len(match["year"])]
        return f"{text}%d{match['s1']}{month}{match['s2']}{year}"
    month = _MONTH_FORMATS[match["month_first"].lower()]
    return f"{text}{month}{match['s3']}%d{match['s4']}%Y"


def _clock_format(match: re.Match[str]) -> str:
    clock = match["clock"]
    if not clock:
        return ""
    hour = "%I" if match["half"] else "%H"
    if ":" in clock:
        text = f"{hour}:%M:%S" if clock.count(":") == 2 else f"{hour}:%M"
    else:
        text = {4: "%H%M", 6: "%H%M%S", 9: "%H%M%S%g"}[len(clock)]
    if match["fraction"]:
        text += f"{match['fraction'][0]}%n"
    if match["half"]:
        text += f"{match['half'][:-2]}%p"
    offset = _OFFSET_FORMAT if match["offset"] else ""
    return f"{match['before_clock'] or ''}{text}{match['zone']}{offset}"


def _siblings(clock: str) -> list[str]:
    """Return what the same clock is where it is at a whole second, or is not."""
    if "%S.%n" in clock:
        return [clock.replace(".%n", "")]
    return [clock.replace(":%S", ":%S.%n")] if ":%S" in clock and "%n" not in clock else []


def _readings(matches: list[re.Match[str]]) -> list[_Reading]:
    """Return what three numbers can be: one, where the numbers or their order decide it."""
    matches = [match for match in matches if match["first"]]
    numbers = [(match["first"], match["second"], match["third"]) for match in matches]
    possible = [_DAY_FIRST, _MONTH_FIRST]
    if numbers and all(len(n[0]) == len(n[2]) == 2 for n in numbers):
        possible.append(_YEAR_FIRST)
    valid = [
        reading for reading in possible if numbers and all(_is_date(reading, n) for n in numbers)
    ]
    if _DAY_FIRST in valid and all(match["sign"] == "." for match in matches):
        return [_DAY_FIRST]  # America does not write dates with points
    if len(valid) > 1:
        straight = [reading for reading in valid if _is_straight(_times(reading, matches))]
        return straight if len(straight) == 1 else valid
    return valid


def _times(reading: _Reading, matches: list[re.Match[str]]) -> list[tuple[date, float]]:
    """Return what the cells of three numbers are in a reading that is valid for each of them."""
    return [
        (reading.date((match["first"], match["second"], match["third"])), _clock_seconds(match))
        for match in matches
        if match["first"]
    ]


def _are_alike(readings: list[_Reading], matches: list[re.Match[str]]) -> bool:
    """Whether the times come in the same order whatever the reading."""
    orders = []
    for reading in readings:
        times = _times(reading, matches)
        orders.append(sorted(range(len(times)), key=times.__getitem__))
    return all(order == orders[0] for order in orders)


def _is_date(reading: _Reading, numbers: tuple[str, str, str]) -> bool:
    try:
        reading.date(numbers)
    except ValueError:
        return False
    return True


def _clock_seconds(match: re.Match[str]) -> float:
    clock = match["clock"] or "0:00"
    if ":" not in clock:
        return float(clock)  # of the same length each, so their order is that of the times
    hours, minutes, *seconds = map(int, clock.split(":"))
    if match["half"]:
        hours = hours % 12 + (12 if match["half"].strip().lower() == "pm" else 0)
    fraction = float((match["fraction"] or ".0").replace(",", "."))
    return hours * 3600 + minutes * 60 + sum(seconds) + fraction


def _is_straight(times: list[tuple[date, float]]) -> bool:
    """Whether times run in one direction."""
    return all(a <= b for a, b in pairwise(times)) or all(a >= b for a, b in pairwise(times))


def _are_enough(understood: int, cells: list[str]) -> bool:
    """Whether so many times among the cells are a column of times: all but one will do, too."""
    return understood >= max(1, min(MIN_UNDERSTOOD_SHARE * len(cells), max(2, len(cells) - 1)))
