"""A column's numbers are read as they are written, or refused: never as another number."""

from __future__ import annotations

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
    common_decimal,
    count_shapes,
    currency_sql,
    find_number_format,
    is_missing,
    number_sql,
    shape_sql,
)


@pytest.fixture(scope="module")
def query():
    """Evaluate SQL of a column `x` over cells."""
    connection = duckdb.connect()

    def query(sql, cells):
        select = f"SELECT {sql} FROM (SELECT unnest(?::VARCHAR[]) AS x)"
        return connection.execute(select, [list(cells)]).fetchall()

    yield query
    connection.close()


@pytest.fixture(scope="module")
def read(query):
    """Return what the SQL of a format makes of cells: numbers, None for one that is none."""

    def read(cells, number_format):
        found = query(number_sql(number_format, "x"), cells)
        return [None if text is None else Decimal(text) for (text,) in found]

    return read


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
    ("1\u2009234,50", "999,50"): ("1234.50", "999.50"),
    ("12,34,567.00", "1,234.5"): ("1234567.00", "1234.5"),
    ("$185.67", "$1,002.00"): ("185.67", "1002.00"),
    ("185,23 €", "1.002,00 €"): ("185.23", "1002.00"),
    ("USD 185.23", "USD 186"): ("185.23", "186"),
    ("R$ 1.234,50", "R$ 12,00"): ("1234.50", "12.00"),
    ("-37.63", "\u221237.63", "+1.5"): ("-37.63", "-37.63", "1.5"),
    ("-$2.5", "$-2.5", "$1.0"): ("-2.5", "-2.5", "1.0"),
    ("1.0e-08", "1e-8", "2.5E+3"): ("1.0E-8", "1E-8", "2.5E+3"),
    ("1,5E-08", "2,0E-8"): ("1.5E-8", "2.0E-8"),
    (" 185.23 ", "\t1.5", "\u00a02"): ("185.23", "1.5", "2"),
    ("17", "18"): ("17", "18"),
}


@pytest.mark.parametrize("cells", UNDERSTOOD, ids=" ".join)
def test_a_column_is_read_as_it_is_written(read, cells):
    number_format = find_number_format(count_shapes(cells))
    expected = [None if text is None else Decimal(text) for text in UNDERSTOOD[cells]]
    assert read(cells, number_format) == expected


REFUSED = {
    ("1,234", "2,345"): "1234 or 1.234",
    ("1,002", "999", "12"): "1234 or 1.234",
    ("1 234", "1,234"): "1234 or 1.234",
    ("1.234", "1,234"): "1234 or 1.234",
    ("144.123", "144.124", "144,12"): r"1\.234 \(2\), which can be 1234 or 1\.234",
    ("1.002", "999"): r"1\.234 \(1\), which can be 1234 or 1\.234",
    ("1,234", "1,235", "12.5"): "1234 or 1.234",
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


def test_a_few_cells_that_are_written_otherwise_are_no_numbers(read):
    cells = ["185.23"] * 200 + ["185,24", "1,185", "€1"]
    number_format = find_number_format(count_shapes(cells))
    assert number_format == NumberFormat(".", "", "€")
    assert read(cells[-4:], number_format) == [Decimal("185.23"), None, None, Decimal(1)]


def test_one_number_with_groups_and_decimals_says_what_groups(read):
    cells = ["999.50"] * 200 + ["1,000", "1,000.25"]
    number_format = find_number_format(count_shapes(cells))
    assert read(cells[-2:], number_format) == [Decimal(1000), Decimal("1000.25")]


def test_the_other_columns_decide_where_a_column_does_not(read):
    for cells, decimal, expected in [
        (["38.487", "38.500"], ",", [38487, 38500]),
        (["38.487", "999"], ",", [38487, 999]),
        (["38.487", "38.500"], ".", [Decimal("38.487"), Decimal("38.5")]),
        (["71,000", "71,200"], ".", [71000, 71200]),
        (["1,085", "1,091"], ",", [Decimal("1.085"), Decimal("1.091")]),
        (["185.23", "1,185.23"], ",", [Decimal("185.23"), Decimal("1185.23")]),
    ]:
        assert read(cells, find_number_format(count_shapes(cells), decimal)) == expected


@pytest.mark.parametrize(
    ("columns", "decimal"),
    [
        ([["0.39%", "-1.2%"], ["12.34M", "1.2B"], ["x", "y"]], "."),
        ([["0,39 %", "-1,2 %"], ["1.234.567", "12"]], ","),
        ([["1.234.567", "2.345.678"]], ","),
        ([["1.234", "2.345"], ["12", "13"]], ""),
        ([["0.39%", "0.1%"], ["1,5", "2,5"]], ""),
        ([["1.5", "x", "y"]], ""),
        ([], ""),
    ],
)
def test_the_decimal_sign_of_a_file_is_that_of_the_columns_which_show_it(columns, decimal):
    assert common_decimal(columns) == decimal


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
    assert query(number_sql(PLAIN, "x"), [missing]) == [(None,)]


def test_what_is_no_number_in_the_format_is_none(read):
    digits = "1" * 65
    assert read([digits, digits[1:]], PLAIN) == [None, Decimal(digits[1:])]
    strange = ["1,5", "1 5", "1'000", "$1", "1_000", "1.5.2", "--1", "+-1", "1e", "inf", "\u0661"]
    assert read(strange, PLAIN) == [None] * len(strange)
    dollars = NumberFormat(".", ",", "$")
    strange = [
        "$$1",
        "1,00",
        "1,0000",
        "0,123",
        "1,234,56",
        "1.5,5",
        "€1",
        "1,234e5",
        "-$-1",
    ]
    assert read(strange, dollars) == [None] * len(strange)
    assert read(["-$1,234.5", "$-1", "1,234 $"], dollars) == [Decimal("-1234.5"), -1, 1234]


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
    read, numbers, number_format, before, exponent
):
    cells = [written(n, number_format, before, exponent) for n in numbers]
    if any(len(cell) > 60 for cell in cells):
        return
    shapes = count_shapes(cells)
    # A column without any other evidence is one of plain numbers: its points are decimal points.
    if {name for name, _ in shapes} == {"1.234"} and number_format.thousands == ".":
        return
    try:
        found = find_number_format(shapes)
    except ValueError:
        assert {"1,234", "1.234"} & {name for name, _ in shapes}
        return
    assert read(cells, found) == numbers


CELLS = st.lists(
    st.text(st.sampled_from("0123456789.,' -+eE$€%kr\u00a0\u2019\u2212N/AUSDx"), max_size=12),
    max_size=20,
)


@given(CELLS)
def test_the_database_counts_as_python_does(query, cells):
    shapes = f"{shape_sql('x')}, {currency_sql('x')}"
    assert Counter(query(shapes, cells)) == count_shapes(cells)
