"""The dialect of a CSV file: the delimiter with which header and rows fit each other."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.tape_files import dialect as module
from lib.tape_files.dialect import find_dialect
from lib.tape_files.plain_text import plain_text
from lib.tapes.tape import TapeError
from tests.helpers import PROJECT_ROOT

CASES = PROJECT_ROOT.parent / "shared" / "cases" / "tapes"


def found(text):
    dialect = find_dialect(text.split("\n"))
    return dialect.delimiter, dialect.quote, dialect.skip, dialect.header


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("decimal", [".", ","])
def test_the_delimiter_is_that_of_header_and_rows(delimiter, decimal):
    if delimiter == decimal:
        return
    lines = ["Date,Close", "2024-01-02,185.23", "2024-01-03,186.00"]
    text = "\n".join(line.replace(".", "\0").replace(",", delimiter) for line in lines)
    header = (("Date", "Close"),)
    assert found(text.replace("\0", decimal)) == (delimiter, '"', 0, header)


FOUND = {
    # decimal commas and thousands never are the delimiter of another file
    "Datum;Schluss\n02.01.2024;185,23\n": (";", '"', 0, (("Datum", "Schluss"),)),
    "Datum;Schluss, bereinigt\n02.01.2024;185,23\n": (
        *(";", '"', 0),
        (("Datum", "Schluss, bereinigt"),),
    ),
    "a;b\n1,5;2,5\n": (";", '"', 0, (("a", "b"),)),
    "symbol|time|price\nA;B|2024-01-02|1,5\n": ("|", '"', 0, (("symbol", "time", "price"),)),
    # one column
    "price\n1\n2\n": (",", '"', 0, (("price",),)),
    "price\n185,23\n186,1\n": (";", '"', 0, (("price",),)),
    "last price\n185.23 USD\n186\n": (",", '"', 0, (("last price",),)),
    # small files, in which other delimiters fit as well
    'date,close,"c, d"\n1000000000,0.00,a; b\n': (",", '"', 0, (("date", "close", "c, d"),)),
    'date,close,"c, d",e;f\n1000000000,0.00,ü|,1000000000\n': (
        *(",", '"', 0),
        (("date", "close", "c, d", "e;f"),),
    ),
    '# x\n"date","close","c, d","e;f"\n"1000000000","0.00","A, B","A, B"\n': (
        *(",", '"', 1),
        (("date", "close", "c, d", "e;f"),),
    ),
    # quotes
    'time, price\n2024-01-02, "1,002.00"\n2024-01-03, "1,003.00"\n': (
        *(",", '"', 0),
        (("time", "price"),),
    ),
    '"Date";"Close"\n"2024-01-02";"1.234,5"\n': (";", '"', 0, (("Date", "Close"),)),
    "'Date','Close'\n'2024-01-02','1,5'\n": (",", "'", 0, (("Date", "Close"),)),
    'time,size,price\n1,5" pipe,1.5\n2,"a, b; c",1.5\n': (
        ",",
        '"',
        0,
        (("time", "size", "price"),),
    ),
    'time,text,price\n2024-01-02,"a\n\nb",1.5\n': (",", '"', 0, (("time", "text", "price"),)),
    'Date,Close\n2024-01-02,"1.5\n2024-01-03,1.6\n2024-01-04,1.7\n': (
        *(",", "", 0),
        (("Date", "Close"),),
    ),
    # what is before a header
    "sep=;\nDate;Close\n2024-01-02;1,5\n": (";", '"', 1, (("Date", "Close"),)),
    '"sep=\t"\nDate\tClose\n1,5\t2\n': ("\t", '"', 1, (("Date", "Close"),)),
    "# of x, y\n# z\nDate,Close\n2024-01-02,1.5\n": (",", '"', 2, (("Date", "Close"),)),
    "#time,price\n1700000000,1.5\n": (",", '"', 0, (("#time", "price"),)),
    "\n\nApple\n\nDate,Close\n2024-01-02,1.5\n": (",", '"', 4, (("Date", "Close"),)),
    '"a title\nof two lines"\nDate,Close\n2024-01-02,1.5\n': (",", '"', 2, (("Date", "Close"),)),
    "Apple Inc.,,\nDate,Close,Volume\n2024-01-02,1.5,3\n": (
        *(",", '"', 1),
        (("Date", "Close", "Volume"),),
    ),
    "Name: Apple, in USD\nDate,Close\n2024-01-02,1.5\n": (",", '"', 1, (("Date", "Close"),)),
    "Exported 2024-01-02\nDate,Close\n2024-01-02,1.5\n": (",", '"', 1, (("Date", "Close"),)),
    "Symbol,AAPL\nCurrency,USD\n\nDate,Close\n2024-01-02,1.5\n": (
        *(",", '"', 3),
        (("Date", "Close"),),
    ),
    "Prices, all in USD\nFrom,1/2/2024\n\nDate,PX_LAST\n1/2/2024,1.5\n": (
        *(",", '"', 3),
        (("Date", "PX_LAST"),),
    ),
    "Kurs;;\nWKN;865985;\nDatum;Kurs;Menge\n02.01.2024;1,5;3\n": (
        *(";", '"', 2),
        (("Datum", "Kurs", "Menge"),),
    ),
    # headers that look like something else
    "Date,Close\n2024-01-02,1.5\nDate,Close,Open,Volume\n": (",", '"', 0, (("Date", "Close"),)),
    ",AAPL\n2024-01-02,1.5\n": (",", '"', 0, (("", "AAPL"),)),
    "Date,7203,9984\n2024-01-02,1.5,2\n": (",", '"', 0, (("Date", "7203", "9984"),)),
    ",7203,9984\n2024-01-02,1.5,2\n": (",", '"', 0, (("", "7203", "9984"),)),
    "Date,Close,,\n2024-01-02,1.5,,\n": (",", '"', 0, (("Date", "Close", "", ""),)),
    "price,price\n1,2\n": (",", '"', 0, (("price", "price"),)),
    "Date,Close": (",", '"', 0, (("Date", "Close"),)),
    "symbol,price\nAAPL,N/D\nMSFT,N/D\n": (",", '"', 0, (("symbol", "price"),)),
    # levels, as pandas writes them
    ",Close,Close\n,AAPL,MSFT\n2024-01-02,1,2\n": (
        *(",", '"', 0),
        (("", "Close", "Close"), ("", "AAPL", "MSFT")),
    ),
    "Ticker,AAPL,AAPL\nPrice,Open,Close\nDate,,\n2024-01-02,1,2\n": (
        *(",", '"', 0),
        (("Ticker", "AAPL", "AAPL"), ("Price", "Open", "Close"), ("Date", "", "")),
    ),
}


@pytest.mark.parametrize("text", FOUND)
def test_the_header_is_found(text):
    assert found(text) == FOUND[text]


@pytest.mark.parametrize("count", [25, 200])
def test_many_lines_of_prose_before_a_header_are_skipped(count):
    header, rows = "Date,Open,Close", ["2024-01-02,1.5,1.6"] * 2 * count
    dialect = find_dialect([*["; see below, too"] * count, header, *rows])
    assert (dialect.delimiter, dialect.skip) == (",", count)
    assert dialect.header == (("Date", "Open", "Close"),)


def test_what_is_skipped_is_said():
    notes = find_dialect(["", "https://example.com", "x", "Date,Close", "1,2"]).notes
    assert notes == ["2 lines before the header skipped: https://example.com"]
    assert find_dialect(["Date,Close", "1,2"]).notes == []


HEADERS = {
    "1\n2\n": "price",
    "2024-01-02,185.23\n": "time,price",
    "02.01.2024;185,23\n03.01.2024;186,5\n": "time;price",
    "AAPL\t185.23\n": "symbol\tprice",
    "1700000000,AAPL,185.23\n": "time,symbol,price",
    "AAPL,2024-01-02 09:30:00,185.23\n": "symbol,time,price",
    "20240102 170000;1.1;1.2;1.0;1.1;0\n": "time;open;high;low;close;volume",
    "2024.01.02,00:00,1.1,1.2,1.0,1.1,10\n": "date,time,open,high,low,close,volume",
    "AAPL,2024-01-02,1.1,1.2,1.0,1.1\n": "symbol,time,open,high,low,close",
    "26129,0.016,4.7,27781,27781,1498793709153,true,true\n": (
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,time,is_buyer_maker,is_best_match"
    ),
    "28457,4.0,12.0,48.0,1499865549590,true,true\n": (
        "id,price,quantity,quote_quantity,time,is_buyer_maker,is_best_match"
    ),
    # a close that is above the high: no bar
    "2024-01-02,1.1,1.2,1.0,1.5\n": "column1,column2,column3,column4,column5",
    "x,y,1.5\n": "column1,column2,column3",
}


@pytest.mark.parametrize("rows", HEADERS)
def test_without_a_header_the_message_gives_the_one_to_add(rows):
    with pytest.raises(TapeError) as caught:
        find_dialect(rows.split("\n"))
    message = str(caught.value)
    assert message.startswith(
        f"has no header: its first row is {rows.splitlines()[0]}; put ".replace("\t", "\\t")
    )
    header = message.rsplit(": ", 1)[1]
    assert header == HEADERS[rows]
    dialect = find_dialect([header, *rows.split("\n")])
    assert dialect.header == (tuple(header.split(dialect.delimiter)),)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("Date,Close\n02.01.2024;185,23\n03.01.2024;186,5\n", ";"),
        ("Date,Close\n02.01.2024\t185,23\n03.01.2024\t1.186,5\n", "\t"),
        ("Date,Close\n02.01.2024 185,23\n03.01.2024 186,5\n", " "),
        ("Date,Close\n1700000000|185,23\n", "|"),
        (
            "Date,Open,High,Low,Close\n" + "2024-01-02;1,5;1,5;1,5;1,5\n" * 20 + "Source: Me\n",
            ";",
        ),
    ],
)
def test_a_header_that_is_not_of_the_rows_is_refused(text, delimiter):
    with pytest.raises(TapeError, match="between the cells of its rows") as caught:
        find_dialect(text.split("\n"))
    assert repr(delimiter) in str(caught.value)


def test_messages_are_bounded():
    with pytest.raises(TapeError) as caught:
        find_dialect([",".join(["1.5"] * 20_000)])
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("text", ["", "\n\n", " \n\t\n"])
def test_nothing_to_read_is_refused(text):
    with pytest.raises(TapeError, match="no row"):
        find_dialect(text.split("\n"))


def test_what_decides_is_bounded():
    lines = ["Date,Close", *["2024-01-02,1.5"] * 3000]
    lines[module.HEAD_ROWS :] = ["no;longer;read"] * 2000
    assert find_dialect(lines).delimiter == ","
    wide = ["time," + ",".join(f"S{n}" for n in range(50_000))]
    wide += ["2024-01-02," + ",".join(["1.5"] * 50_000)] * 1000
    assert len(find_dialect(wide).header[0]) == 50_001


def test_the_header_of_the_klines_case_is_the_one_of_binance(tmp_path):
    headless, headed = (
        CASES / "t09a_BTCUSDT-1m-no-header.csv",
        CASES / "t09b_BTCUSDT-futures-with-header.csv",
    )
    if not headless.is_file():
        pytest.skip(f"the cases are not there: {CASES}")
    with pytest.raises(TapeError) as caught:
        find_dialect(headless.read_text().splitlines())
    assert str(caught.value).endswith(
        f"put this line before it: {headed.read_text().splitlines()[0]}"
    )


def test_the_headers_of_the_cases_are_found(tmp_path):
    if not CASES.is_dir():
        pytest.skip(f"the cases are not there: {CASES}")
    expected = {
        "t01a": (",", 0, "Date"),
        "t01d": (",", 0, "Date"),
        "t04a": (",", 0, "Date"),
        "t04b": (",", 0, "symbol"),
        "t04c": (",", 0, "symbol"),
        "t10a": (",", 1, "unix"),
        "t10b": (",", 1, "Date"),
        "t12a": (";", 0, "Datum"),
        "t12c": (",", 0, "date"),
        "t12d": (",", 0, "date"),
        "t15a": (",", 0, "Date"),
        "t15d": (",", 0, "Date"),
        "t17a": (",", 0, ""),
        "t17c": (",", 0, "Unnamed: 0"),
        "t18f": (",", 0, "Symbol"),
    }
    for path in sorted(CASES.iterdir()):
        name = path.name.partition("_")[0]
        if name in expected:
            plain = plain_text(path, tmp_path, lambda count: None).path
            dialect = find_dialect(plain.read_text(encoding="utf-8-sig").splitlines())
            assert (dialect.delimiter, dialect.skip, dialect.header[-1][0]) == expected.pop(name)
    assert expected == {}


CELLS = {
    "time": st.dates().map(str) | st.integers(10**9, 2 * 10**9).map(str),
    "text": st.sampled_from(
        ["AAPL", "BRK.B", "Apple, Inc.", "a; b", 'x "y" z', "BTC/USDT", "", "ü|"]
    ),
    "price": st.decimals(0, 10**6, places=2).map(str),
    "decimal comma": st.decimals(0, 10**6, places=2).map(lambda d: str(d).replace(".", ",")),
    "thousands": st.decimals(0, 10**7, places=2).map(lambda d: f"{d:,}"),
}


@given(
    st.data(),
    st.sampled_from([",", ";", "\t", "|"]),
    st.booleans(),
    st.sampled_from(["", "# x\n", "t\n"]),
)
def test_any_table_in_any_dialect_is_found(data, delimiter, quote_all, banner):
    price = data.draw(st.sampled_from(["price", "decimal comma", "thousands"]))
    kinds = [
        "time",
        price,
        *data.draw(st.lists(st.sampled_from(["text", "time", price]), max_size=4)),
    ]
    rows = data.draw(st.lists(st.tuples(*(CELLS[kind] for kind in kinds)), min_size=1, max_size=8))
    header = ["date", "close", "c, d", "e;f", "g", "h"][: len(kinds)]
    file = io.StringIO()
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    text = banner + file.getvalue()
    assert found(text) == (delimiter, '"', banner.count("\n"), (tuple(header),))
