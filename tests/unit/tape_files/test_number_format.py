"""A column's numbers are read as they are written, or refused: never as another number."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.tape_files.number_format import (
    MISSING,
    PLAIN,
    NumberFormat,
    count_shapes,
    currency_sql,
    find_number_format,
    is_missing,
    number_pattern,
    number_sql,
    parse_number,
    shape_sql,
)


def read(cells):
    number_format = find_number_format(count_shapes(cells))
    return [str(parse_number(cell, number_format)) for cell in cells]


@pytest.fixture(scope="module")
def query():
    """Evaluate SQL of a column `x` over cells."""
    connection = duckdb.connect()

    def query(sql, cells):
        select = f"SELECT {sql} FROM (SELECT unnest(?::VARCHAR[]) AS x)"
        return connection.execute(select, [list(cells)]).fetchall()

    yield query
    connection.close()


UNDERSTOOD = {
    ("185.23", "1.234", "12", ".5", "5."): ("185.23", "1.234", "12", "0.5", "5"),
    ("1.234", "2.345"): ("1.234", "2.345"),
    ("1,047.00", "999.5", "1,002"): ("1047.00", "999.5", "1002"),
    ("999.50", "1,002"): ("999.50", "1002"),
    ("1,234,567", "1,234"): ("1234567", "1234"),
    ("185,23", "1,234"): ("185.23", "1.234"),
    ("0,123", "0,456"): ("0.123", "0.456"),
    ("1234,567",): ("1234.567",),
    ("185,23", "1.234,56", "1.234"): ("185.23", "1234.56", "1234"),
    ("1.234.567", "1.234"): ("1234567", "1234"),
    ("1'234.50", "999.00"): ("1234.50", "999.00"),
    ("1’234.50", "999.00"): ("1234.50", "999.00"),  # noqa: RUF001 (of Switzerland, by Excel)
    ("1 234,56", "12,5"): ("1234.56", "12.5"),
    ("1\u00a0234,56", "12,50"): ("1234.56", "12.50"),
    ("1\u202f234,567", "12"): ("1234.567", "12"),
    ("12,34,567.00", "1,234.5"): ("1234567.00", "1234.5"),
    ("$185.67", "$1,002.00"): ("185.67", "1002.00"),
    ("185,23 €", "1.002,00 €"): ("185.23", "1002.00"),
    ("USD 185.23", "USD 186"): ("185.23", "186"),
    ("R$ 1.234,50", "R$ 12,00"): ("1234.50", "12.00"),
    ("-37.63", "\u221237.63", "+1.5", "-$2.5", "$-2.5"): ("-37.63", "-37.63", "1.5", None, None),
    ("-$2.5", "$-2.5", "$1.0"): ("-2.5", "-2.5", "1.0"),
    ("1.0e-08", "1e-8", "2.5E+3"): ("1.0E-8", "1E-8", "2.5E+3"),
    ("1,5E-08", "2,0E-8"): ("1.5E-8", "2.0E-8"),
    (" 185.23 ", "\t1.5", "\u00a02"): ("185.23", "1.5", "2"),
    ("17", "18"): ("17", "18"),
}


@pytest.mark.parametrize("cells", UNDERSTOOD, ids=" ".join)
def test_a_column_is_read_as_it_is_written(query, cells):
    number_format = find_number_format(count_shapes(cells))
    [*values] = zip(
        cells, UNDERSTOOD[cells], query(number_sql(number_format, "x"), cells), strict=True
    )
    for cell, expected, (from_sql,) in values:
        if expected is None:
            continue
        assert str(parse_number(cell, number_format)) == expected
        assert Decimal(from_sql) == Decimal(expected)
        assert re.fullmatch(number_pattern(number_format), cell)


REFUSED = {
    ("1,234", "2,345"): "1234 or 1.234",
    ("1,002", "999", "12"): "1234 or 1.234",
    ("1 234", "1,234"): "1234 or 1.234",
    ("1.234", "1,234"): "1234 or 1.234",
    ("185.23", "185,24"): "mixes ways",
    ("1,234.5", "1.234,5"): "mixes ways",
    ("1,234.5", "1'234.5"): "mixes ways",
    ("€1", "$2"): "mixes currencies",
    ("5%", "0.39%"): "no numbers",
    ("N/D", "", "null"): "no numbers",
    ("AAPL", "1.2.3", "1,2,3", "1,23.4", "0,123,456", "12 34"): "no numbers",
    ("1.49M", "2K", "1.5 MIO", "0x10", "1_000", "inf", "\u0661"): "no numbers",
    (): "no numbers",
}


@pytest.mark.parametrize("cells", REFUSED, ids=" ".join)
def test_what_can_be_read_in_two_ways_is_refused(cells):
    with pytest.raises(ValueError, match=REFUSED[cells]):
        find_number_format(count_shapes(cells))


def test_a_few_cells_that_are_written_otherwise_are_no_numbers():
    cells = ["185.23"] * 200 + ["185,24", "€1"]
    number_format = find_number_format(count_shapes(cells))
    assert number_format == NumberFormat(".", "", "€")
    with pytest.raises(ValueError, match="185,24"):
        parse_number("185,24", number_format)


def test_a_few_bad_cells_do_not_decide_what_a_comma_is():
    with pytest.raises(ValueError, match=r"1234 or 1\.234"):
        find_number_format(count_shapes(["1,234"] * 1000 + ["12,5"]))
    with pytest.raises(ValueError, match=r"1234 or 1\.234"):
        find_number_format(count_shapes(["1,234"] * 1000 + ["12.5"]))
    assert find_number_format(count_shapes(["1.234"] * 1000 + ["12,5"])) == PLAIN


@pytest.mark.parametrize("missing", [*MISSING, "N/A", "NaN", "#N/A", " - ", "NULL"])
def test_missing_values_say_nothing(query, missing):
    assert is_missing(missing)
    assert find_number_format(count_shapes([missing, "185,23"])).decimal == ","
    assert query(shape_sql("x"), [missing, None]) == [("missing",), ("missing",)]
    with pytest.raises(ValueError, match="not a number"):
        parse_number(missing, PLAIN)


def test_a_long_cell_is_no_number(query):
    digits = "1" * 65
    with pytest.raises(ValueError, match="not a number"):
        parse_number(digits, PLAIN)
    assert query(number_sql(PLAIN, "x"), [digits, digits[1:]]) == [(None,), (digits[1:],)]


# --- any number in any format ---------------------------------------------------------------------

FORMATS = st.sampled_from(
    [
        NumberFormat(decimal, thousands, currency)
        for decimal in (".", ",")
        for thousands in ("", ",", ".", "'", "\u2019", " ", "\u00a0", "\u202f")
        for currency in ("", "$", "€", "USD", "kr", "R$")
        if thousands != decimal
    ]
)
NUMBERS = st.lists(
    st.decimals(0, 10**9, allow_nan=False, places=None).filter(lambda d: abs(d.adjusted()) < 20)
    | st.decimals(0, 5000, places=2)
    | st.decimals(0, 5000, places=3)
    | st.integers(0, 3_000_000).map(Decimal),
    min_size=1,
    max_size=12,
)


def written(number, number_format, before, exponent):
    decimal, thousands, currency = number_format
    text = f"{number:e}" if exponent else f"{number:,f}"
    swapped = text.replace(",", "\0").replace(".", decimal).replace("\0", thousands)
    if not currency:
        return swapped
    return f"{currency}{swapped}" if before else f"{swapped} {currency}"


@given(NUMBERS, FORMATS, st.booleans(), st.booleans())
def test_numbers_in_any_format_are_read_exactly_or_refused(
    numbers, number_format, before, exponent
):
    currency = number_format.currency
    cells = [written(n, number_format, before, exponent) for n in numbers]
    if any(len(cell) > 60 for cell in cells):
        return
    # A column without any other evidence is one of plain numbers: its points are decimal points.
    if number_format.thousands == "." and not any(
        cell.count(".") > 1 or "," in cell for cell in cells
    ):
        return
    shapes = count_shapes(cells)
    if {name for name, _ in shapes} <= {"1,234", "1.234", "12"} and ("1,234", currency) in shapes:
        with pytest.raises(ValueError, match=r"1234 or 1\.234"):
            find_number_format(shapes)
        return
    assert [parse_number(cell, find_number_format(shapes)) for cell in cells] == numbers


CELLS = st.lists(
    st.text(st.sampled_from("0123456789.,' -+eE$€%kr\u00a0\u2019\u2212N/AUSDx"), max_size=12),
    max_size=20,
)


@given(CELLS, FORMATS)
def test_the_database_reads_as_python_does(query, cells, number_format):
    shapes = f"{shape_sql('x')}, {currency_sql('x')}"
    assert Counter(query(shapes, cells)) == count_shapes(cells)
    for cell, (from_sql,) in zip(cells, query(number_sql(number_format, "x"), cells), strict=True):
        try:
            expected = parse_number(cell, number_format)
        except ValueError:
            assert from_sql is None
        else:
            assert Decimal(from_sql) == expected
