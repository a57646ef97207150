"""Times are read as they are written, to the nanosecond, or there is no format."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.tape_files.time_format import find_time_format, time_ambiguity


@pytest.fixture(scope="module")
def read():
    """Return what the SQL of the cells' format makes of them: nanoseconds, or None."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'America/New_York'")  # must not matter

    def read(cells, samples=None):
        time_format = find_time_format(samples or cells)
        assert time_format is not None
        select = f"SELECT {time_format.of('x')} FROM (SELECT unnest(?::VARCHAR[]) AS x)"
        return [value for (value,) in connection.execute(select, [list(cells)]).fetchall()]

    yield read
    connection.close()


def ns(text):
    """Nanoseconds of an ISO time in UTC; more than six decimals are allowed."""
    whole, _, fraction = text.partition(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    return int(seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))


UNDERSTOOD = {
    ("1700000000", "1700000001"): ("seconds since 1970", "2023-11-14T22:13:20"),
    ("631152000",): ("seconds since 1970", "1990-01-01T00:00:00"),
    ("1700000000.5",): ("seconds since 1970", "2023-11-14T22:13:20.5"),
    ("1700000000123",): ("milliseconds since 1970", "2023-11-14T22:13:20.123"),
    ("1700000000123.25",): ("milliseconds since 1970", "2023-11-14T22:13:20.12325"),
    ("1700000000123456",): ("microseconds since 1970", "2023-11-14T22:13:20.123456"),
    ("1700000000123456789",): ("nanoseconds since 1970", "2023-11-14T22:13:20.123456789"),
    ("2024-01-02",): ("YYYY-MM-DD", "2024-01-02T00:00:00"),
    ("2024/1/2 9:30",): ("YYYY/MM/DD and a clock", "2024-01-02T09:30:00"),
    ("2024-01-02T03:04:05Z",): ("YYYY-MM-DD and a clock", "2024-01-02T03:04:05"),
    ("2024-01-02 03:04:05.5 UTC",): ("YYYY-MM-DD and a clock", "2024-01-02T03:04:05.5"),
    ("2024-01-02 03:04:05.123456789",): (
        "YYYY-MM-DD and a clock",
        "2024-01-02T03:04:05.123456789",
    ),
    ("2024-01-02 00:00:00-05:00",): (
        "YYYY-MM-DD and a clock with an offset",
        "2024-01-02T05:00:00",
    ),
    ("2024-01-02 09:30:00.123456789+0530",): (
        "YYYY-MM-DD and a clock with an offset",
        "2024-01-02T04:00:00.123456789",
    ),
    ("2024-01-02 09:30+01",): ("YYYY-MM-DD and a clock with an offset", "2024-01-02T08:30:00"),
    ("2024-01-02 09:30 AM",): ("YYYY-MM-DD and a clock", "2024-01-02T09:30:00"),
    ("2024-01-02 093000",): ("YYYY-MM-DD and a clock", "2024-01-02T09:30:00"),
    ("20240102",): ("YYYYMMDD", "2024-01-02T00:00:00"),
    ("20240102 170000",): ("YYYYMMDD and a clock", "2024-01-02T17:00:00"),
    ("2024-01-02 09:30:00 EST", "2024-01-03 09:30:00 EST"): (
        "YYYY-MM-DD and a clock EST",
        "2024-01-02T09:30:00",
    ),
    ("20240102 09:30:00 US/Eastern",): ("YYYYMMDD and a clock US/Eastern", "2024-01-02T09:30:00"),
    ("2024-01-02T09:30:00-05:00[America/New_York]",): (
        "YYYY-MM-DD and a clock with an offset[America/New_York]",
        "2024-01-02T14:30:00",
    ),
    ("20240102  17:00:00",): ("YYYYMMDD and a clock", "2024-01-02T17:00:00"),
    ("20240102170000",): ("YYYYMMDD and a clock", "2024-01-02T17:00:00"),
    ("20240102 170000123",): ("YYYYMMDD and a clock", "2024-01-02T17:00:00.123"),
    ("20240102 17:00",): ("YYYYMMDD and a clock", "2024-01-02T17:00:00"),
    ("2024.01.02 00:05",): ("YYYY.MM.DD and a clock", "2024-01-02T00:05:00"),
    ("02.01.2024", "03.01.2024"): ("DD.MM.YYYY", "2024-01-02T00:00:00"),
    ("2.1.24",): ("DD.MM.YY", "2024-01-02T00:00:00"),
    ("02.01.2024 00:00:00.123",): ("DD.MM.YYYY and a clock", "2024-01-02T00:00:00.123"),
    ("01/02/2024", "01/13/2024"): ("MM/DD/YYYY", "2024-01-02T00:00:00"),
    ("01/02/2024", "13/02/2024"): ("DD/MM/YYYY", "2024-02-01T00:00:00"),
    ("01/30/2024", "02/01/2024", "02/02/2024"): ("MM/DD/YYYY", "2024-01-30T00:00:00"),
    ("01/02/2024", "02/02/2024", "01/03/2024"): ("DD/MM/YYYY", "2024-02-01T00:00:00"),
    ("01/03/2024", "02/02/2024", "01/02/2024"): ("DD/MM/YYYY", "2024-03-01T00:00:00"),
    ("1/13/24 9:30:01PM",): ("MM/DD/YY and a clock", "2024-01-13T21:30:01"),
    ("12/31/2023, 12:30:00 AM",): ("MM/DD/YYYY and a clock", "2023-12-31T00:30:00"),
    ("13-02-2024 12:30 pm",): ("DD-MM-YYYY and a clock", "2024-02-13T12:30:00"),
    ("Jan 02, 2024", "Jan 3, 2024"): ("Jan DD, YYYY", "2024-01-02T00:00:00"),
    ("January 2, 2024",): ("January DD, YYYY", "2024-01-02T00:00:00"),
    ("02-Jan-2024",): ("DD-Jan-YYYY", "2024-01-02T00:00:00"),
    ("02-JAN-24",): ("DD-Jan-YY", "2024-01-02T00:00:00"),
    ("2 January 2024 09:30:00.5",): ("DD January YYYY and a clock", "2024-01-02T09:30:00.5"),
    ("Tuesday, January 2, 2024",): ("Monday, January DD, YYYY", "2024-01-02T00:00:00"),
    ("Jan. 2, 2024",): ("Jan. DD, YYYY", "2024-01-02T00:00:00"),
    ("Jan-02-2024",): ("Jan-DD-YYYY", "2024-01-02T00:00:00"),
    ("02Jan2024",): ("DDJanYYYY", "2024-01-02T00:00:00"),
    ("2024年1月2日",): ("YYYY年MM月DD日", "2024-01-02T00:00:00"),
    ("2024-02", "2024-03"): ("YYYY-MM", "2024-02-01T00:00:00"),
    ("202401020930", "202401020931"): ("YYYYMMDD and a clock", "2024-01-02T09:30:00"),
    ("02.01.2024 00:00:00.123 GMT+0100",): (
        "DD.MM.YYYY and a clock with an offset",
        "2024-01-01T23:00:00.123",
    ),
    ("02.01.2024 09:30 -05:00", "03.01.2024 09:30 -05:00"): (
        "DD.MM.YYYY and a clock with an offset",
        "2024-01-02T14:30:00",
    ),
    ("Tue, 02 Jan 2024 09:30:00 GMT",): ("Mon, DD Jan YYYY and a clock", "2024-01-02T09:30:00"),
}


@pytest.mark.parametrize("cells", UNDERSTOOD, ids=" ".join)
def test_times_are_read_as_they_are_written(read, cells):
    name, first = UNDERSTOOD[cells]
    time_format = find_time_format(cells)
    assert time_format is not None
    assert time_format.name == name
    values = read(cells)
    assert values[0] == ns(first)
    assert None not in values
    assert time_ambiguity(cells) == ""


@pytest.mark.parametrize(
    "cells",
    [
        ("0", "1"),
        ("185.23",),
        ("AAPL",),
        ("09:30:00", "16:00:00", "09:30:00"),
        ("09:30:00", "9 to 5"),
        ("2024-07-02 09:30 EDT", "2024-11-05 09:30 EST"),
        ("99999999",),
        ("45293.5",),
        ("2024",),
        ("N/D", ""),
        (),
        ("2024-01-02", "AAPL"),
        ("Foo 02, 2024",),
    ],
    ids=" ".join,
)
def test_what_is_no_time_has_no_format(cells):
    assert find_time_format(cells) is None
    assert time_ambiguity(cells) == ""


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (("01/02/2024", "05/01/2024", "03/02/2024"), "can be day, month, year or month, day"),
        (("01/02/2024 10:00", "01/02/2024 11:00") * 500, "can be day, month, year or month, day"),
        (("01/02/2024", "01/03/2024", "02/02/2024") * 334, "can be day, month, year or month, day"),
        (("13/02/2024", "02/13/2024"), "neither"),
    ],
    ids=["two orders", "more than the samples", "both", "none"],
)
def test_a_day_that_can_be_a_month_is_named(cells, reason):
    assert find_time_format(cells) is None
    assert reason in time_ambiguity(cells)
    assert cells[0] in time_ambiguity(cells)


@pytest.mark.parametrize(
    "cells",
    [
        ("01/02/2024 10:00", "01/02/2024 09:00", "01/02/2024 11:00"),
        ("01/02/2024", "01/03/2024"),
        ("02/03/24 1:00 PM", "01/02/24 11:00 AM"),
        ("24/01/02", "24/01/03"),
    ],
)
def test_a_day_that_can_be_a_month_does_not_matter_where_the_order_is_the_same(read, cells):
    time_format = find_time_format(cells)
    assert time_format.is_order_only
    assert "in the same order" in time_format.name
    assert time_ambiguity(cells) == ""
    values = read(cells)
    by_value = sorted(cells, key=lambda cell: values[cells.index(cell)])
    assert by_value == sorted(cells, key=lambda cell: (cell[:8], "PM" in cell, cell))
    assert find_time_format([*cells, *cells] * 500) is None  # what follows may be in another order


@pytest.mark.parametrize(
    ("cells", "seconds"),
    [
        (("09:30:00", "16:00:00.5"), (34200, 57600.5)),
        (("4:00 PM", "9:30 AM"), (57600, 34200)),
    ],
)
def test_clocks_that_run_in_one_direction_are_of_one_day(read, cells, seconds):
    time_format = find_time_format(cells)
    assert (time_format.name, time_format.is_order_only) == ("a clock", True)
    assert [value % (86400 * 10**9) / 10**9 for value in read(cells)] == list(seconds)
    assert find_time_format(cells[:1] * 1000) is None  # the next ones may be of another day
    assert find_time_format(["", *cells[:1] * 999]) is None  # and so if one is missing


def test_each_cell_may_have_its_own_precision(read):
    cells = ["1700000000000", "1700000000000123"]
    assert read(cells) == [ns("2023-11-14T22:13:20"), ns("2023-11-14T22:13:20.000123")]
    name = find_time_format(cells).name
    assert name == "milliseconds and microseconds since 1970"
    cells = ["02.01.2024 00:00:00", "02.01.2024 00:00:00.25", "02.01.2024 00:00"]
    assert read(cells, cells[:1]) == [ns("2024-01-02T00:00:00"), ns("2024-01-02T00:00:00.25"), None]
    assert read(["02-Jan-2024", "03-jan-24"]) == [
        ns("2024-01-02T00:00:00"),
        ns("2024-01-03T00:00:00"),
    ]
    cells = ["2024-07-02 00:00:00-04:00", "2024-11-04 00:00:00-05:00"]
    assert read(cells) == [ns("2024-07-02T04:00:00"), ns("2024-11-04T05:00:00")]


@pytest.mark.parametrize("samples", UNDERSTOOD, ids=" ".join)
def test_what_is_no_time_becomes_null_and_never_an_error(read, samples):
    strange = [
        *("", "N/D", "AAPL", "-1", "1" * 30, "9" * 19, "infinity", "epoch", "99999-01-01", "1.5.x"),
        *(
            "2024-13-01",
            "0001-01-01",
            "31.02.2024",
            "01.02.24",
            "99999999999999999999",
            "..",
            "1e400",
        ),
        *("2024-01-02 00:00:00+99:99", "0000000000", "24:61", "%Y", "ü", "\u0661" * 10),
    ]
    values = read([*strange, samples[0]], samples)
    assert values[-1] is not None
    assert values[:5] == [None] * 5


def test_missing_samples_say_nothing(read):
    samples = ["N/D N/D", "", "null"] * 300 + ["2024-03-21 21:00:06"]
    assert read(["2024-03-21 21:00:06"], samples) == [ns("2024-03-21T21:00:06")]


def test_a_few_other_cells_do_not_hide_the_format():
    assert find_time_format([*["2024-01-02"] * 9, "Total"]) is not None
    assert find_time_format([*["2024-01-02"] * 8, "Total", "Mean"]) is None
    assert find_time_format(["2024-01-02", "2024-01-03", "Source: Me"]) is not None


WRITERS = {
    "%Y-%m-%d %H:%M:%S": 1,
    "%Y-%m-%dT%H:%M:%S.%fZ": 10**-6,
    "%Y%m%d %H%M%S": 1,
    "%Y.%m.%d %H:%M:%S": 1,
    "%d.%m.%Y %H:%M:%S.%f": 10**-6,
    "%d.%m.%Y": 86400,
    "%m/%d/%Y %I:%M:%S %p": 1,
    "%d/%m/%Y %H:%M": 60,
    "%d-%b-%Y %H:%M:%S": 1,
    "%b %d, %Y": 86400,
    "%d %B %Y %I:%M %p": 60,
    "%d/%m/%y %H:%M:%S": 1,
}


@given(
    st.sampled_from(list(WRITERS)),
    st.lists(st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1)), min_size=1, max_size=20),
    st.sampled_from(["any", "ascending", "descending"]),
)
def test_any_time_in_any_format_is_read_exactly_or_has_no_format(read, writer, times, order):
    if order != "any":
        times = sorted(times, reverse=order == "descending")
    cells = [time.strftime(writer) for time in times]
    time_format = find_time_format(cells)
    if time_format is None:
        assert time_ambiguity(cells).startswith(f"times like {cells[0]} ")
        return
    expected = []
    for cell in cells:
        elapsed = datetime.strptime(cell, writer) - datetime(1970, 1, 1)
        expected.append(elapsed // timedelta(microseconds=1) * 1000)
    found = read(cells)
    if time_format.is_order_only:
        rows = range(len(cells))
        assert sorted(rows, key=found.__getitem__) == sorted(rows, key=expected.__getitem__)
        return
    if "/" in writer and found != expected:  # the order decided, and times in any order can mislead
        assert order == "any"
        return
    assert found == expected


@given(
    st.lists(st.integers(10**17, 4 * 10**18), min_size=1, max_size=10),
    st.sampled_from([1, 3, 6, 9]),
)
def test_any_time_since_1970_is_read_exactly(read, values, places):
    unit = 10 ** (9 if places == 1 else 9 - places)
    assert read([str(value // unit) for value in values]) == [v // unit * unit for v in values]
