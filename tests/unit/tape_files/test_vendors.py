"""Files as vendors and programs write them: they play what they say, or are refused by a reason."""

from __future__ import annotations

import duckdb
import pytest

from lib.tapes.tape import TapeError
from tests.unit.tape_files.prepared_files import play, play_news, write

BACKWARDS = "times run backwards"
QUOTES = "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\n2024.01.02\t00:00:00.123\t1.1\t1.2\t\n"
INDEXED = "Price,Date,Close,Open\nTicker,,AAPL,AAPL\n0,2024-01-02,1.5,9\n"
DAYS = "".join(f"2024-01-{day:02},1,2\n" for day in range(2, 22))
YFINANCE = "Price,Close,High\nTicker,{0},{0}\nDate,,\n" + DAYS


def said(result):
    return " ".join(f"{symbol} {price.normalize():f}" for symbol, price in result.ticks)


@pytest.mark.parametrize(
    ("symbols", "text", "played", "warning"),
    [
        # several columns of prices, and columns that are called as symbols are
        ("AAPL", "symbol,price,close\nAAPL,,1.5\nAAPL,n/a,1.6\n", "AAPL 1.5 AAPL 1.6", ""),
        ("AAPL", QUOTES, "AAPL 1.15", ""),
        ("AAPL", "symbol,bid,ask\nAAPL,3,2\nT,3,2\n", "AAPL 2.5", "crossed quotes: 1 row of 2"),
        ("AAPL LAST", "Date,AAPL,LAST\n2024-01-02,1,2\n", "AAPL 1 LAST 2", ""),
        ("AAPL MSFT", "Date,AAPL,MSFT,MID\n2024-01-02,1,2,3\n", "AAPL 1 MSFT 2", "MID (1)"),
        ("LOW", "DATE,OPEN,HIGH,LOW,CLOSE\n2024-01-02,1,2,3,4\n", "LOW 4", ""),
        ("AAPL", "symbol,ticker,price\n320193,AAPL,1\n", "AAPL 1", ""),
        ("SP500", "observation_date,SP500\n2024-01-01,.\n2024-01-02,5\n", "SP500 5", "1 cell of 2"),
        ("AAPL", INDEXED, "AAPL 1.5", ""),
        # times: by their cells where the name is not known, and with the clock beside a date
        ("AAPL", "日付け,close\n2024-01-03,1\n2024-01-02,2\n", "AAPL 1 AAPL 2", BACKWARDS),
        ("AAPL", "transact_time,price\n1704205860,1\n1704205800,2\n", "AAPL 1 AAPL 2", BACKWARDS),
        (
            "AAPL",
            "date,minute,last\n20240102,09:31,1\n20240102,09:30,2\n",
            "AAPL 1 AAPL 2",
            BACKWARDS,
        ),
        ("AAPL", "date,time,close\n2024-01-02,34200.5,1\n", "AAPL 1", "times in time are not"),
        ("AAPL", " date ,close\n 2024-01-02 ,1\n 2024-01-03 ,2\n", "AAPL 1 AAPL 2", ""),
        ("AAPL", "expiry,close\n2024-03-26,1\n2024-03-25,2\n", "AAPL 1 AAPL 2", ""),
        # numbers
        ("AAPL", "symbol,price\nAAPL,1.5\nAAPL,1_000.5\n", "AAPL 1.5", "price is no number"),
        ("A B", "symbol,price\nA,1852300\nB,21400\n", "A 1852300 B 21400", "scaled"),
        ("A", "symbol,bid,ask\nA,1852300,1852301\n", "A 1852300.5", "scaled"),
    ],
)
def test_what_is_unmistakable_plays_and_what_is_odd_is_said(
    symbols, text, played, warning, tmp_path
):
    result = play(tmp_path, symbols.split(), path=write(tmp_path, text))
    assert said(result) == played
    assert warning in result.warnings
    assert bool(warning) == bool(result.warnings)


@pytest.mark.parametrize(
    ("symbols", "text", "reason"),
    [
        ("AAPL", "Date,AAPL,Close\n2024-01-02,1,2\n", "price Close, and columns called as"),
        ("LAST CLOSE", "Date,LAST,CLOSE\n2024-01-02,1,2\n", "price CLOSE, and columns called as"),
        ("AAPL", "Date,Open,Close\n" + DAYS + "Date,Close,Open\n" + DAYS, r"line 22 \(Date,Close"),
        ("AAPL", YFINANCE.format("AAPL") + YFINANCE.format("MSFT"), r"line 25 \(Ticker,MSFT"),
        ("A B", "Date,A,B\n" + DAYS + "Date,B,A\n" + DAYS, "is another header"),
        (
            "AAPL",
            "price\n1704205800\n1704205860\n",
            "look like times such as 1704205800, or scaled",
        ),
        ("AAPL", "symbol,price\nAAPL,55%\n", "has no numbers; the first cell is 55%"),
        ("AAPL", "Exceeded the daily hits limit", "no row below its header .Exceeded the daily"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(symbols, text, reason, tmp_path):
    with pytest.raises(TapeError, match=reason):
        play(tmp_path, symbols.split(), path=write(tmp_path, text))


def test_a_long_number_of_json_is_no_float(tmp_path):
    path = write(tmp_path, '{"price": 8999999999.99999999}\n{"price": "1.5"}\n', "tape.jsonl")
    assert said(play(tmp_path, path=path)) == "AAPL 8999999999.99999999 AAPL 1.5"


def test_the_query_that_divides_scaled_prices_plays(tmp_path):
    text = "Ticker,Bid Price,Ask Price\nAAPL,1852300,1852500\n"
    query = play(tmp_path, path=write(tmp_path, text)).warnings.split('"""')[1]
    assert said(play(tmp_path, query=query)) == "AAPL 185.24"


@pytest.mark.parametrize("name", ["prices?.csv", "prices*.csv", "prices[1].csv"])
def test_a_file_whose_name_looks_like_a_pattern_plays_alone(name, tmp_path):
    write(tmp_path, "price\n9\n", "prices1.csv")
    assert said(play(tmp_path, path=write(tmp_path, "price\n1\n", name))) == "AAPL 1"


def test_a_clock_beside_a_date_counts_in_parquet_too(tmp_path):
    rows = "(DATE '2024-01-02', TIME '10:00', 1), (DATE '2024-01-02', TIME '09:00', 2)"
    duckdb.sql(f"FROM (VALUES {rows}) t(date, time, price)").write_parquet(f"{tmp_path}/a.parquet")
    assert BACKWARDS in play(tmp_path, path=tmp_path / "a.parquet").warnings
    rows = "(TIME '10:00', 1), (TIME '09:00', 2)"
    duckdb.sql(f"FROM (VALUES {rows}) t(time, price)").write_parquet(f"{tmp_path}/b.parquet")
    warning = "times in time are not understood"
    assert warning in play(tmp_path, path=tmp_path / "b.parquet").warnings


# --- several files --------------------------------------------------------------------------------


def test_files_without_ticks_of_ours_are_said_where_others_have_some(tmp_path):
    write(tmp_path, "symbol,price\nAAPL,1\nAAPL,x\n", "a.csv")
    write(tmp_path, "symbol,price\n", "b.csv")
    write(tmp_path, "symbol,price\nTSLA,3\n", "c.csv")
    result = play(tmp_path, path=f"{tmp_path}/*.csv")
    assert said(result) == "AAPL 1"
    for words in (
        "b.csv: has no row below its header",
        "c.csv: the column symbol has TSLA (1), and none of",
        "a.csv, line 3 (AAPL,x)",
    ):
        assert words in result.warnings


@pytest.mark.parametrize("names", [("AAPL.csv", "MSFT.csv"), ("aapl_2024.csv", "x.csv")])
def test_files_that_name_several_symbols_are_not_played_as_one(names, tmp_path):
    for name in names:
        write(tmp_path, "date,close\n2024-01-02,1\n", name)
    with pytest.raises(TapeError, match=rf"{names[1]}: has no symbol.*{names[0]}, whose name"):
        play(tmp_path, path=f"{tmp_path}/*.csv")


# --- sentiments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("timestamp,value\n1704205800,55\n1704119400,60\n", f"{BACKWARDS} 1 time"),
        ("symbol,sentiment\nAAPL,55\nMSFT,60\n", "symbol has several symbols (AAPL, MSFT)"),
        ("date,sentiment\n2024-01-01,55\n2024-01-02,60\n", ""),
    ],
)
def test_odd_sentiments_are_said(text, warning, tmp_path):
    values, findings = play_news(tmp_path, path=write(tmp_path, text))
    assert values == [55, 60]
    assert bool(warning) == bool(findings.warnings)
    assert warning in "".join(findings.warnings)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("sentiment\nPositive\nneutral\nnegative\n", [75, 50, 25]),
        ("label,score\npositive,0.98\nnegative,0.97\n", [75, 25]),
        ("date;Sentiment\n2024-01-01;0,5\n2024-01-02;0,7\n", [50, 70]),
    ],
)
def test_the_query_that_a_refusal_offers_plays(text, values, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(TapeError) as caught:
        play_news(tmp_path, path=path)
    query = str(caught.value).split('"""')[1]
    assert play_news(tmp_path, query=query)[0] == values
