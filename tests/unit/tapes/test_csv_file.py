"""Tape files: any place can be read, and a file is understood or refused in one line."""

from __future__ import annotations

import csv
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.prices import PRICE_SCALE
from lib.tapes import csv_file, sentiments
from lib.tapes.csv_file import load_csv_tape
from lib.tapes.sentiments import load_sentiments
from lib.tapes.tape import TapeError

FOUR = ("AAPL", "MSFT", "GOOG", "AMZN")
TWO = ("AAPL", "MSFT")


def ticks_of(tape, first=1, count=1_000_000):
    """The ticks as people write them: [("AAPL", "172.5"), …] becomes [(0, 172.5), …]."""
    indices, prices = tape.read(first, count)
    return [
        (int(i), float(Decimal(int(p)) / PRICE_SCALE)) for i, p in zip(indices, prices, strict=True)
    ]


# --- files: which columns ---------------------------------------------------------------------


@pytest.mark.parametrize("price", ["price", "Close", "LAST", " mid "])
@pytest.mark.parametrize("symbol", ["symbol", "Ticker", "SYMBOL "])
def test_price_and_symbol_columns_have_many_names_in_any_case(tape_file, price, symbol):
    path = tape_file(f"x,{price},{symbol}\nq,172.5,AAPL\nq,325.2,MSFT\n")
    assert ticks_of(load_csv_tape(path, TWO, "")) == [(0, 172.5), (1, 325.2)]


def test_price_goes_before_close_last_mid_and_the_quotes_and_symbol_before_ticker(tape_file):
    names, cells = ["price", "close", "last", "mid", "bid", "ask"], ["1", "2", "3", "4", "5", "6"]
    for absent, expected in enumerate([1, 2, 3, 4, 5.5]):
        header = ",".join(reversed([*names[absent:], "symbol"]))
        row = ",".join(reversed([*cells[absent:], "AAPL"]))
        tape = load_csv_tape(tape_file(f"ticker,{header}\nMSFT,{row}\n"), TWO, "")
        assert ticks_of(tape) == [(0, expected)]


@given(st.tuples(*[st.integers(1, 10**26)] * 2), st.integers(8, 20))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_prices_are_rounded_from_their_exact_text(tape_file, quote, decimals):
    bid, ask = (1 + number % (10 ** (decimals + 9)) for number in quote)
    bid += 10**decimals
    ask += 10**decimals

    def text(number):
        return f"{number // 10**decimals}.{number % 10**decimals:0{decimals}d}"

    exact = [Fraction(bid, 10**decimals), Fraction(bid + ask, 2 * 10**decimals)]
    expected = [round(value * PRICE_SCALE) for value in exact]
    price = load_csv_tape(tape_file(f"price\n{text(bid)}\n"), TWO, "AAPL").read(1, 1)[1]
    middle = load_csv_tape(tape_file(f"bid,ask\n{text(bid)},{text(ask)}\n"), TWO, "AAPL")
    assert [int(price[0]), int(middle.read(1, 1)[1][0])] == expected


def test_csv_symbol_is_the_symbol_of_a_file_without_a_symbol_column(tape_file):
    without, column = "date,close\n1,172.5\n2,172.6\n", "close,symbol\n172.5,AAPL\n"
    assert ticks_of(load_csv_tape(tape_file(without), TWO, "MSFT")) == [(1, 172.5), (1, 172.6)]
    assert ticks_of(load_csv_tape(tape_file(column), TWO, "MSFT")) == [(0, 172.5)]


@pytest.mark.parametrize("time", ["timestamp", "Datetime", "DATE", "time"])
def test_a_row_of_a_wide_file_is_a_tick_of_each_symbol_in_the_order_of_the_file(tape_file, time):
    path = tape_file(f"{time},msft,AAPL,TSLA\n2,325.2,172.5,1\n1,325.3,172.6,1\n")
    tape = load_csv_tape(path, TWO, "")
    assert ticks_of(tape) == [(1, 325.2), (0, 172.5), (1, 325.3), (0, 172.6)]
    assert (tape.skipped.count, tape.skipped.symbols) == (0, {"TSLA": 2})


def test_of_symbols_that_differ_in_case_only_a_column_is_the_one_it_spells(tape_file):
    path = tape_file("time,AAPL,aapl\n1,2,3\n")
    assert ticks_of(load_csv_tape(path, ("AAPL", "aapl"), "")) == [(0, 2), (1, 3)]
    assert ticks_of(load_csv_tape(path, ("aapl", "AAPL"), "")) == [(1, 2), (0, 3)]


def test_a_file_of_a_million_symbols_does_not_fill_the_memory(tape_file):
    rows = "".join(f"1,{'x' * 1000}{n}\n1,S{n}\n" for n in range(500))
    tape = load_csv_tape(tape_file(f"price,symbol\n{rows}1,AAPL\n"), TWO, "")
    assert sum(tape.skipped.symbols.values()) == 1000
    assert len(tape.skipped.symbols) == csv_file.MAX_SKIPPED_SYMBOLS + 1
    assert csv_file.OTHER_SYMBOLS in tape.skipped.symbols
    assert max(map(len, tape.skipped.symbols)) <= csv_file.MAX_QUOTED_CHARACTERS + 1


# --- files: which rows ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        *["", " ", "x", "nan", "inf", "-1", "0.0", "-0", "--1", ".", "9000000000.1", "1e10"],
        *["1e99999999", "1e-9", "1e-999", "1" * 65, "1" * 5000, "1_000", '"1,000.5"', "$5"],
        *["1.2.3", "0x10", "1\0", "\N{ARABIC-INDIC DIGIT ONE}"],
    ],
)
def test_a_row_with_a_missing_or_impossible_price_is_skipped_and_said_by_line(tape_file, cell):
    path = tape_file(f"price,symbol\n1,AAPL\n{cell},AAPL\n2,AAPL\n")
    tape = load_csv_tape(path, TWO, "")
    assert ticks_of(tape) == [(0, 1), (0, 2)]
    assert tape.skipped.count == 1
    [(line, reason)] = tape.skipped.rows
    assert line == 3
    assert "price" in reason
    assert len(reason) < 300
    assert "\n" not in reason


LONG = "x" * 200_000


@pytest.mark.parametrize(
    ("content", "ticks", "skipped"),
    [
        ("bid,ask,symbol\n,2,AAPL\n0,2,AAPL\n1,x,AAPL\n1,2,AAPL\n", [(0, 1.5)], [2, 3, 4]),
        ("symbol,price,x\nAAPL\nAAPL,1\nAAPL,1,234.5,7\nAAPL,2,x,,\n", [(0, 1), (0, 2)], [2, 4]),
        ("price,symbol\n1,NVDA\nx,NVDA\n2,AAPL\n3,aapl\n4,\n", [(0, 2)], [6]),
        ("date,AAPL,TSLA,MSFT\n1,1,1,\n2,x,1,3\n4\n", [(0, 1), (1, 3)], [2, 3, 4, 4]),
        ('\ufeff\n"Price","Symbol"\r\n"1.5","AAPL"\r\n\r\n\t\r\nx,AAPL\r\n', [(0, 1.5)], [6]),
        ('price,symbol,x\n1,AAPL,"a\nb"\nx,AAPL,"a\nb"\nx,AAPL,\n', [(0, 1)], [4, 6]),
        ('price,symbol\n1,"AAPL"x\n2,AAPL\n', [(0, 2)], [2]),
        (f"price,symbol\n1,{LONG}\n2,AAPL\n", [(0, 2)], [2]),
        (f'price,symbol\n1,"{LONG}"\n2,AAPL\n', [(0, 2)], [2]),
        ('price,symbol\n1,AAPL\n2,"AAPL\n3,AAPL\n', [(0, 1)], [3]),
    ],
    ids=[
        *["quotes", "short and long rows", "other symbols", "wide", "blank lines", "two lines"],
        *["text after a quote", "long cell", "long quoted cell", "open quote"],
    ],
)
def test_a_bad_row_is_skipped_and_named_by_its_line(tape_file, content, ticks, skipped):
    tape = load_csv_tape(tape_file(content), TWO, "")
    assert ticks_of(tape) == ticks
    assert [row.line for row in tape.skipped.rows] == skipped


def test_skipped_rows_have_reasons_and_other_symbols_are_counted(tape_file):
    content = 'symbol,price,x\nNVDA,x\nAAPL,1\naapl,1\nAAPL,1,234.5,7\nAAPL\n,1\n"AAPL\n1\n'
    skipped = load_csv_tape(tape_file(content), TWO, "").skipped
    assert skipped.symbols == {"NVDA": 1, "aapl": 1}
    assert skipped.rows == [
        (5, "4 cells under a header of 3"),
        (6, "no price"),
        (7, "no symbol"),
        (8, "unexpected end of data, up to line 9"),
    ]


@pytest.mark.parametrize("cell", ["1", "1.", "+1", "1e0", "10E-1", " 1 ", '"1"', ' "1"', "0.1e1"])
def test_a_number_may_be_written_in_any_usual_way(tape_file, cell):
    tape = load_csv_tape(tape_file(f"symbol,price\nAAPL,{cell}\n"), TWO, "")
    assert ticks_of(tape) == [(0, 1)]


def test_of_many_bad_rows_all_are_counted_and_the_first_are_kept(tape_file):
    tape = load_csv_tape(tape_file("price\n1\n" + "x\n" * 5000), TWO, "AAPL")
    assert tape.skipped.count == 5000
    assert [row.line for row in tape.skipped.rows] == [
        *range(3, 3 + csv_file.MAX_SKIPPED_ROWS_KEPT)
    ]


# --- files that cannot be played --------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("date,open,volume\n1,2,3\n", "found the columns date, open, volume; looked for a price"),
        ("price\n1\n", "looked for a price (price, close, last, mid, or bid and ask) and a symbol"),
        ("symbol,bid\nAAPL,1\n", "found the columns symbol, bid;"),
        ("AAPL,MSFT\n1,2\n", "a time (timestamp, datetime, date, time) and columns named AAPL"),
        ("date;close;symbol\n1;2;AAPL\n", "found the columns date;close;symbol;"),
        ("price,Price,symbol\n1,2,AAPL\n", "two columns named price"),
        ("date,AAPL,aapl\n1,2,3\n", "two columns for one symbol"),
        ("price,symbol\n", "no usable row for AAPL, MSFT; it has no bad rows"),
        ("price,symbol\nx,AAPL\n\n-1,AAPL\n", "2 bad rows, the first in line 2: price is 'x'"),
        ("price,symbol\n1,NVDA\n2,TSM\n", "other symbols: NVDA, TSM"),
        (b"price,symbol\n1,AAPL\n2,\xff\xfe\n", "is not UTF-8"),
        ("price,symbol\n1,AAPL\n".encode("utf-16"), "is not UTF-8"),
        ('"a\nb",c\n', "found the columns a b, c;"),
        ("x" * 100_000, "found the columns xxx"),
        ("x" * 1_000_000, "the file is empty"),
    ],
)
def test_a_file_that_cannot_be_played_says_in_one_line_what_was_wanted(tape_file, content, said):
    path = tape_file(content)
    with pytest.raises(TapeError) as error:
        load_csv_tape(path, TWO, "")
    message = str(error.value)
    assert said in message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 1500


def test_a_csv_symbol_that_is_not_traded_is_refused_by_name(tape_file):
    with pytest.raises(TapeError, match=r"csv_symbol is TSLA.*not one of the symbols AAPL, MSFT"):
        load_csv_tape(tape_file("price\n1\n"), TWO, "TSLA")


@pytest.mark.parametrize("load", [lambda path: load_csv_tape(path, TWO, ""), load_sentiments])
def test_a_path_that_is_no_readable_file_is_refused(tmp_path, load):
    not_a_directory = tmp_path / "file"
    not_a_directory.write_text("x")
    with pytest.raises(TapeError, match="No such file"):
        load(tmp_path / "missing.csv")
    with pytest.raises(TapeError, match="is not a file"):
        load(tmp_path)
    with pytest.raises(TapeError, match="is not a file"):
        load(Path("/dev/zero"))
    for odd in (not_a_directory / "x", Path("a\0b"), Path("x" * 5000)):
        with pytest.raises(TapeError, match="cannot be read"):
            load(odd)


def test_a_file_of_too_many_ticks_is_refused_before_it_fills_the_memory(tape_file, monkeypatch):
    for module in (csv_file, sentiments):
        monkeypatch.setattr(module, "MAX_TAPE_ROWS", 10)
    assert load_csv_tape(tape_file("price\n" + "1\n" * 10), TWO, "AAPL").length == 10
    assert load_sentiments(tape_file("1\n" * 10)).length == 10
    with pytest.raises(TapeError, match="more than 10 ticks"):
        load_csv_tape(tape_file("price\n" + "1\n" * 11), TWO, "AAPL")
    with pytest.raises(TapeError, match="more than 10 sentiments"):
        load_sentiments(tape_file("1\n" * 11))


@given(st.binary(max_size=300))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_tape_or_a_tape_error(tape_file, noise):
    for content in (noise, b"price,symbol\n1,AAPL\n" + noise):
        # Any other exception fails the test.
        with suppress(TapeError):
            assert load_csv_tape(tape_file(content), TWO, "").length >= 1
    for content in (noise, b"50\n" + noise):
        with suppress(TapeError):
            assert load_sentiments(tape_file(content)).length >= 1


# --- files: reading and identity ---------------------------------------------------------------


@given(st.integers(1, 30), st.integers(0, 30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_slice_of_a_file_is_that_part_of_it_and_shorter_at_the_end(tape_file, first, count):
    path = tape_file("price\n" + "".join(f"{n}\n" for n in range(1, 21)))
    tape = load_csv_tape(path, TWO, "MSFT")
    assert tape.length == 20
    expected = [(1, n) for n in range(first, min(first + count, 21))]
    assert ticks_of(tape, first, count) == expected


def test_the_identity_changes_with_what_the_tape_plays_and_only_then(tape_file):
    def identity(content, symbols=TWO):
        return load_csv_tape(tape_file(content), symbols, "").identity

    base = identity("price,symbol\n1,AAPL\n2,MSFT\n")
    assert base == identity("symbol,Close\r\nAAPL,1.0\r\nMSFT,2.00\r\n")
    assert base.replace("-", "").isalnum()
    others = [
        identity("price,symbol\n1,AAPL\n2.01,MSFT\n"),
        identity("price,symbol\n1,MSFT\n2,AAPL\n"),
        identity("price,symbol\n2,MSFT\n1,AAPL\n"),
        identity("price,symbol\n1,AAPL\n"),
        identity("price,symbol\n1,AAPL\n2,MSFT\n", (*TWO, "GOOG")),
        identity("price,symbol\n1,AAPL\n2,MSFT\n", ("MSFT", "AAPL")),
    ]
    assert len({base, *others}) == 7


def test_the_real_tape_plays_to_its_last_row(real_tape_path):
    symbols = ("NVDA", "AMZN", "META", "TSM", "BRK-B", "AAPL", "AVGO", "GOOGL", "MSFT")
    tape = load_csv_tape(real_tape_path, symbols, "")
    with real_tape_path.open(newline="") as file:
        expected = [
            (symbols.index(row["Symbol"]), round(Fraction(row["Close"]) * PRICE_SCALE))
            for row in csv.DictReader(file)
        ]
    indices, prices = tape.read(1, 100_000)
    assert tape.length == len(expected) == 28_076
    assert list(zip(indices.tolist(), prices.tolist(), strict=True)) == expected
    assert tape.skipped.count == 0
