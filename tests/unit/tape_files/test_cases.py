"""Each file of the shared cases: it plays these prices, or is refused in these words.

What is expected is read from the files with the csv module and Decimal.
"""

from __future__ import annotations

import csv
import gzip
from decimal import Decimal

import pytest

from lib.prices import PRICE_SCALE
from lib.tapes.tape import TapeError
from tests.conftest import PROJECT_ROOT
from tests.unit.tape_files.prepared_files import play, play_news

CASES = PROJECT_ROOT.parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not here")

TAPES = CASES / "tapes"
NEWEST_FIRST = "times run backwards (newest first)"


def rows_of(name, encoding="utf-8-sig", delimiter=","):
    data = (TAPES / name).read_bytes()
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    return list(csv.reader(data.decode(encoding).splitlines(), delimiter=delimiter))


def closes(name, column, symbol="AAPL", skip=1, decimal=".", **options):
    """Return the ticks of a file of one symbol; cells that are empty or words are left out."""
    cells = [row[column] for row in rows_of(name, **options)[skip:]]
    texts = [cell.replace("$", "") for cell in cells if cell != "null"]
    if decimal == ".":
        return [(symbol, Decimal(text.replace(",", ""))) for text in texts]
    return [(symbol, Decimal(text.replace(".", "").replace(",", "."))) for text in texts]


def long(name, symbol_column, price_column, symbols, skip=1):
    return [
        (row[symbol_column].strip(), Decimal(row[price_column]))
        for row in rows_of(name)[skip:]
        if row[symbol_column].strip() in symbols
    ]


PLAIN = [  # file, symbols, symbol, what it plays, words of its warnings
    ("t01a_yfinance_one_ticker.csv", "AAPL", "", lambda n: closes(n, 1, skip=3), []),
    ("t01d_yfinance_numeric_dates.csv", "AAPL", "", lambda n: closes(n, 1, skip=3), []),
    ("t02a_oldest_first.csv", "AAPL", "AAPL", lambda n: closes(n, 1), []),
    ("t02b_newest_first.csv", "AAPL", "AAPL", lambda n: closes(n, 1), [NEWEST_FIRST]),
    (
        "t03_kaggle_name_column.csv",
        "AAL,AAPL,MSFT",
        "",
        lambda n: long(n, 6, 4, ("AAL", "AAPL", "MSFT")),
        ["grouped by symbol"],
    ),
    ("t04a_investing_com.csv", "AAPL", "AAPL", lambda n: closes(n, 1), [NEWEST_FIRST]),
    ("t05_one_year_daily.csv", "AAPL", "AAPL", lambda n: closes(n, 4), []),
    ("t07c_shib_exact_8.csv", "SHIB", "", lambda n: closes(n, 2, "SHIB"), []),
    ("t08_nasdaq_site.csv", "AAPL", "AAPL", lambda n: closes(n, 1), [NEWEST_FIRST]),
    (
        "t09b_BTCUSDT-futures-with-header.csv",
        "BTCUSDT",
        "BTCUSDT",
        lambda n: closes(n, 4, "BTCUSDT"),
        [],
    ),
    (
        "t10a_banner_cryptodatadownload.csv",
        "BTCUSDT",
        "BTCUSDT",
        lambda n: closes(n, 6, "BTCUSDT", skip=2),
        [NEWEST_FIRST, "BTC/USDT"],
    ),
    ("t10b_banner_excel_sep.csv", "AAPL", "AAPL", lambda n: closes(n, 1, skip=2), []),
    (
        "t11a_polygon_minute_aggs.csv",
        "AAPL,MSFT",
        "",
        lambda n: long(n, 0, 3, ("AAPL", "MSFT")),
        ["grouped by symbol", "O:SPY251219C00650000 (60)"],
    ),
    (
        "t11b_polygon_minute_aggs.csv.gz",
        "AAPL,MSFT",
        "",
        lambda n: long(n, 0, 3, ("AAPL", "MSFT")),
        ["grouped by symbol", "BRK.B (60)"],
    ),
    (
        "t12a_excel_german.csv",
        "AAPL",
        "AAPL",
        lambda n: closes(n, 1, decimal=",", delimiter=";"),
        [],
    ),
    ("t12c_decimal_comma_quoted.csv", "AAPL", "", lambda n: closes(n, 2, decimal=","), []),
    ("t15a_utf16.csv", "AAPL", "AAPL", lambda n: closes(n, 1, encoding="utf-16"), []),
    ("t15c_gzip_named_csv.csv", "AAPL", "AAPL", lambda n: closes(n, 1), []),
    ("t15d_classic_mac_line_ends.csv", "AAPL", "AAPL", lambda n: closes(n, 1), []),
    ("t17c_unnamed_0.csv", "AAPL", "", lambda n: long(n, 2, 3, ("AAPL",)), []),
    ("t18a_yahoo_classic_null_row.csv", "AAPL", "AAPL", lambda n: closes(n, 4), ["1 row of 60"]),
    (
        "t18b_course_market_data.csv",
        "AAPL,MSFT,GOOG",
        "",
        lambda n: long(n, 1, 2, ("AAPL", "MSFT")),
        ["no tick of configured symbols: GOOG", "SPY (60)"],
    ),
]


@pytest.mark.parametrize(("name", "symbols", "symbol", "expected", "words"), PLAIN)
def test_a_file_plays_its_prices_and_warns_of_what_is_odd(
    name, symbols, symbol, expected, words, tmp_path
):
    played = play(tmp_path, symbols.split(","), path=TAPES / name, symbol=symbol)
    assert played.ticks == expected(name)
    assert len(played.findings.warnings) == len(words)
    for word in words:
        assert word in played.warnings


REFUSED = [
    ("t03_kaggle_name_column.csv", "AAL,AAPL,MSFT", "AAPL", ["the column Name has 3 symbols"]),
    ("t04b_unquoted_thousands.csv", "AAPL", "", ["16 of 30 rows", "line 16", "AAPL,1,002.00"]),
    ("t04c_unquoted_thousands_spare_columns.csv", "AAPL", "", ["16 of 30 rows", "line 16"]),
    ("t06a_databento_raw.csv", "AAPL,SNDL", "", ["30 of 60 numbers", "look scaled", "query"]),
    ("t06a_databento_raw.csv", "SNDL", "", ["look scaled"]),
    ("t09a_BTCUSDT-1m-no-header.csv", "BTCUSDT", "BTCUSDT", ["no header", "open_time,open,high"]),
    ("t12d_decimal_comma_wide_spare_columns.csv", "AAPL,MSFT", "", ["60 of 60", "comma"]),
    ("t15f_html_error_page.csv", "AAPL", "AAPL", ["HTML"]),
]


@pytest.mark.parametrize(("name", "symbols", "symbol", "words"), REFUSED)
def test_a_file_that_is_not_unmistakable_is_refused_in_one_line(
    name, symbols, symbol, words, tmp_path
):
    with pytest.raises(TapeError) as caught:
        play(tmp_path, symbols.split(","), path=TAPES / name, symbol=symbol)
    message = str(caught.value)
    assert message.startswith(str(TAPES / name))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_twelve_decimals_are_rounded_half_to_even_and_it_is_said_by_how_much(tmp_path):
    name = "t07a_pepe_12_decimals.csv"
    played = play(tmp_path, ["PEPE"], path=TAPES / name)
    exact = [price for _, price in closes(name, 2, "PEPE")]
    assert [price for _, price in played.ticks] == [
        Decimal(round(price * PRICE_SCALE)) / PRICE_SCALE for price in exact
    ]
    assert "rounded: 59 prices (98 %)" in played.warnings
    assert "by up to 33 % of the price" in played.warnings


@pytest.mark.parametrize(
    ("name", "columns"),
    [("t17a_wide_without_index_name.csv", (1, 2)), ("t17b_flattened_columns.csv", (1, 2))],
)
def test_a_wide_file_plays_row_by_row_in_the_order_of_its_columns(name, columns, tmp_path):
    played = play(tmp_path, ["AAPL", "MSFT"], path=TAPES / name)
    assert played.ticks == [
        (symbol, Decimal(row[column]))
        for row in rows_of(name)[1:]
        for symbol, column in zip(("AAPL", "MSFT"), columns, strict=True)
    ]
    assert not [line for line in played.findings.warnings if "not configured" not in line]


def test_newest_first_plays_oldest_first_when_sorted(tmp_path):
    path = TAPES / "t02b_newest_first.csv"
    played = play(tmp_path, path=path, symbol="AAPL", time_order="sort")
    assert played.ticks == closes("t02a_oldest_first.csv", 1)
    assert not played.findings.warnings


def test_ticks_grouped_by_symbol_are_interleaved_when_sorted(tmp_path):
    name = "t11a_polygon_minute_aggs.csv"
    played = play(tmp_path, ["AAPL", "MSFT"], path=TAPES / name, time_order="sort")
    timed = [row for row in rows_of(name)[1:] if row[0] in ("AAPL", "MSFT")]
    timed.sort(key=lambda row: int(row[6]))
    assert played.ticks == [(row[0], Decimal(row[3])) for row in timed]
    assert [symbol for symbol, _ in played.ticks[:4]] == ["AAPL", "MSFT", "AAPL", "MSFT"]


def test_a_negative_price_is_skipped_and_named(tmp_path):
    played = play(tmp_path, ["CL"], path=TAPES / "t14a_wti_2020.csv")
    assert played.ticks == [tick for tick in closes("t14a_wti_2020.csv", 1, "CL") if tick[1] > 0]
    assert "1 row of 6" in played.warnings
    assert "line 5 (2020-04-20,-37.63)" in played.warnings


def test_a_last_line_that_is_cut_off_is_not_played_and_that_is_said(tmp_path):
    name = "t15h_concatenated_and_cut.csv"
    played = play(tmp_path, path=TAPES / name)
    whole = [row for row in rows_of(name)[:-1] if row[1] == "AAPL"]
    assert played.ticks == [("AAPL", Decimal(row[2])) for row in whole]
    assert len(played.ticks) == 60
    assert "line 64 (1700000199,AAPL,17)" in played.warnings


def test_any_symbol_that_can_be_configured_is_found_trimmed_and_ignoring_case(tmp_path):
    name = "t13_symbol_zoo.csv"
    found = [row[1].strip() for row in rows_of(name)[1:]]
    configured = tuple(
        dict.fromkeys(s for s in found if not set(s) & set(",*") and len(s.encode()) <= 16)
    )
    played = play(tmp_path, configured, path=TAPES / name)
    expected = [(r[1].strip(), Decimal(r[2])) for r in rows_of(name)[1:]]
    assert played.ticks == [tick for tick in expected if tick[0] in configured]
    upper = play(tmp_path, ["AAPL", "MSFT", "GOOG"], path=TAPES / name)
    names = {"aapl": "AAPL", "Msft": "MSFT", "GOOG": "GOOG"}
    assert upper.ticks == [(names[s], price) for s, price in expected if s in names]


def test_bid_and_ask_play_their_middle(tmp_path):
    name = "t18e_dukascopy_ticks.csv"
    played = play(tmp_path, ["EURUSD"], path=TAPES / name)
    assert played.ticks == [
        ("EURUSD", (Decimal(row[1]) + Decimal(row[2])) / 2) for row in rows_of(name)[1:]
    ]


def test_a_quote_of_stooq_names_the_symbols_without_a_tick(tmp_path):
    name = "t18f_stooq_quote.csv"
    played = play(tmp_path, ["AAPL.US", "MSFT"], path=TAPES / name)
    assert played.ticks == [("AAPL.US", Decimal("165.38")), ("AAPL.US", Decimal("166.02"))]
    assert "no tick of configured symbols: MSFT" in played.warnings
    assert "XXXX.US (1)" in played.warnings


def test_the_news_files_play_or_name_their_scale(tmp_path):
    floats = CASES / "news" / "n01a_floats.csv"
    expected = [int(float(line)) for line in floats.read_text().split()[1:]]
    assert play_news(tmp_path, path=floats)[0] == expected
    assert play_news(tmp_path, path=CASES / "news" / "n01e_two_rows.csv")[0] == [80, 80]
    with pytest.raises(TapeError, match=r"a scale of -1 to 1.*\(sentiment \+ 1\) \* 50"):
        play_news(tmp_path, path=CASES / "news" / "n01b_minus_one_to_one.csv")
