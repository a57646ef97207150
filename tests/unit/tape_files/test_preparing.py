"""Any file that people have becomes a tape exactly, or is refused in one line."""

from __future__ import annotations

import gzip
import os
from decimal import ROUND_HALF_EVEN, Decimal

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.tape_files.preparing import SCRATCH, prepare
from lib.tapes.recipe import TickRecipe
from lib.tapes.tape import TapeError
from tests.unit.tape_files.prepared_files import play, play_news, ticks, write

UNIT = Decimal("1e-8")


def assert_refused(tmp_path, words, **recipe):
    with pytest.raises(TapeError) as caught:
        play(tmp_path, **recipe)
    message = str(caught.value)
    assert "\n" not in message
    for word in words if isinstance(words, list) else [words]:
        assert word in message
    return message


# --- columns --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "price"),
    [
        ("date,adj close,close", 2),
        ("date,last,close", 2),
        ("date,4. close,volume", 1),
        ("date,<CLOSE>,<VOL>", 1),
        ("date,Cours,Volume", 1),
        ("date,Último,Volume", 1),
        ("date,bid,ask", 1.5),
        ("date,ask,bid", 1.5),
        ("date,adj close,volume", 1),
        ("date,Close*,Adj Close**", 1),
        ("date,Adj Close (USD),Close (USD)", 2),
        ("date,Open,price_usd", 2),
        ("date,Kurs in EUR,Volume", 1),
        ("#date,#close,volume", 1),
    ],
)
def test_a_price_is_found_by_its_name(header, price, tmp_path):
    path = write(tmp_path, f"{header}\n2024-01-02,1,2\n")
    assert play(tmp_path, path=path).ticks == ticks("AAPL", price)


def test_a_price_in_two_currencies_is_refused(tmp_path):
    path = write(tmp_path, "date,Close (USD),Close (EUR)\n2024-01-02,1,2\n")
    assert_refused(tmp_path, "2 columns named close", path=path)


def test_a_symbol_in_brackets_is_one(tmp_path):
    path = write(tmp_path, "date,Close (AAPL),Close (MSFT)\n2024-01-02,1,2\n")
    assert play(tmp_path, path=path).ticks == ticks("AAPL", 1)


def test_unknown_columns_are_listed_with_what_was_looked_for(tmp_path):
    path = write(tmp_path, "a,b,c\n1,2,3\n")
    assert_refused(
        tmp_path, ["columns a, b, c", "price, close, last, mid", "symbol, ticker"], path=path
    )


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = write(tmp_path, "price,price\n1,2\n")
    assert_refused(tmp_path, "2 columns named price", path=path)


def test_a_file_without_a_symbol_wants_one_where_several_are_configured(tmp_path):
    path = write(tmp_path, "date,close\n2024-01-02,1\n")
    assert_refused(tmp_path, "set symbol", path=path, symbols=["AAPL", "MSFT"])
    played = play(tmp_path, ["AAPL", "MSFT"], path=path, symbol="MSFT")
    assert played.ticks == ticks("MSFT", 1)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("aapl,1\nAAPL,2\n", [2]),
        ("aapl,1\n AAPL ,2\n", [2]),
        ("Aapl,1\n", [1]),
    ],
)
def test_the_exact_name_comes_first_and_then_the_only_one_ignoring_case(cells, expected, tmp_path):
    path = write(tmp_path, f"symbol,price\n{cells}")
    assert play(tmp_path, path=path).ticks == ticks("AAPL", *expected)


@pytest.mark.parametrize(
    "header", ["symbol,price\naapl,1\nAapl,2\n", "date,aapl,Aapl\n2024-01-01,1,2\n"]
)
def test_two_spellings_that_are_equal_ignoring_case_are_refused_in_each_layout(header, tmp_path):
    assert_refused(tmp_path, "Aapl and aapl", path=write(tmp_path, header))


def test_a_symbol_that_first_comes_far_down_plays(tmp_path):
    rows = "AAPL,1\n" * 1500 + "msft,2\nTSLA,3\n"
    played = play(tmp_path, ["AAPL", "MSFT"], path=write(tmp_path, f"symbol,price\n{rows}"))
    assert played.ticks == ticks("AAPL", *[1] * 1500) + ticks("MSFT", 2)
    assert played.findings.other_symbols == {"TSLA": 1}


def test_a_column_named_symbol_counts_before_the_symbol_of_the_settings(tmp_path):
    path = write(tmp_path, "ticker,price\nAAPL,1\nMSFT,2\n")
    played = play(tmp_path, ["AAPL", "MSFT"], path=path, symbol="MSFT")
    assert played.ticks == ticks("AAPL", 1) + ticks("MSFT", 2)
    warning = "symbol MSFT is not used: the column ticker has the symbols"
    assert played.findings.warnings == [warning]


def test_blanks_around_the_only_symbol_do_not_count(tmp_path):
    path = write(tmp_path, "symbol,price\n TSLA ,1\nTSLA,2\n")
    assert play(tmp_path, path=path, symbol="AAPL").ticks == ticks("AAPL", 1, 2)


def test_an_unexpected_symbol_far_down_is_counted(tmp_path):
    rows = "AAPL,1\nQQQ,5\n" * 1500 + "TSLA,3\n"
    played = play(tmp_path, path=write(tmp_path, f"symbol,price\n{rows}"))
    assert played.findings.other_symbols == {"QQQ": 1500, "TSLA": 1}
    assert len(played.ticks) == 1500


# --- numbers --------------------------------------------------------------------------------------


def test_numbers_that_are_written_otherwise_far_down_decide_with_the_others(tmp_path):
    rows = "".join(f'AAPL,"{n}.5"\n' for n in range(1, 1101)) + 'AAPL,"1,234.5"\n' * 100
    played = play(tmp_path, path=write(tmp_path, f"symbol,price\n{rows}"))
    assert played.ticks[-1] == ("AAPL", Decimal("1234.5"))
    assert len(played.ticks) == 1200


def test_numbers_that_can_be_read_in_two_ways_are_refused(tmp_path):
    path = write(tmp_path, 'symbol,price\nAAPL,"1,234"\nAAPL,"2,345"\n')
    assert_refused(tmp_path, ["1234 or 1.234", "price"], path=path)


def test_the_columns_beside_the_price_say_what_a_point_is(tmp_path):
    text = "Datum;Close;Volumen\n02.01.2024;38.487;12.345.678\n03.01.2024;38.500;1.345.678\n"
    assert play(tmp_path, path=write(tmp_path, text)).ticks == ticks("AAPL", 38487, 38500)
    text = '"Date","Price","Vol.","Change %"\n"01/13/2024","71,000","12.34M","0.39%"\n'
    assert play(tmp_path, path=write(tmp_path, text)).ticks == ticks("AAPL", 71000)


def test_a_column_without_numbers_is_shown(tmp_path):
    path = write(tmp_path, "date,price\n2024-01-01,\n2024-01-02,185.23%\n")
    assert_refused(
        tmp_path, "the column price has no numbers; the first cell is 185.23%", path=path
    )


@pytest.mark.parametrize(
    ("price", "words"),
    [
        ("185230000000", ["look scaled", '"price" * 0.000000001 AS price FROM']),
        ("20240102", ["dates such as"]),
    ],
)
def test_whole_numbers_that_are_no_prices_are_refused(price, words, tmp_path):
    assert_refused(tmp_path, words, path=write(tmp_path, f"symbol,price\nAAPL,{price}\n"))


def test_whole_numbers_that_may_be_scaled_are_warned_of(tmp_path):
    played = play(tmp_path, path=write(tmp_path, "symbol,price\nAAPL,1852300\n"))
    assert "all numbers in price are whole" in played.warnings


def test_prices_that_cannot_be_played_are_skipped_by_reason(tmp_path):
    bad = "AAPL,0\nAAPL,-1\nAAPL,1e-12\nAAPL,9000000000.5\nAAPL,abc\nAAPL,\nAAPL,n/a\n,5\n"
    played = play(tmp_path, path=write(tmp_path, f"symbol,price\nAAPL,1.5\n{bad}"))
    assert played.ticks == ticks("AAPL", "1.5")
    assert played.findings.skipped == 8
    for words in (
        "2 rows of 9 (22 %): the price is not above 0; the first is line 3",
        "1 row of 9 (11 %): the price rounds to 0",
        "the price is above the limit of 9000000000; the first is line 6",
        "price is no number; the first is line 7",
        "2 rows of 9 (22 %): no price; the first is line 8",
        "no symbol; the first is line 10",
    ):
        assert words in played.warnings


@given(
    prices=st.lists(
        st.decimals(Decimal("1e-8"), Decimal(9 * 10**9), allow_nan=False, places=12), min_size=1
    )
)
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_decimals_are_read_exactly_and_rounded_half_to_even(kind, prices, tmp_path):
    path = tmp_path / f"tape.{kind}"
    path.unlink(missing_ok=True)
    if kind == "csv":
        path.write_text("symbol,price,x\n" + "".join(f"AAPL,{p:f},1\n" for p in prices))
    elif kind == "jsonl":
        path.write_text("".join(f'{{"symbol": "AAPL", "price": {p:f}}}\n' for p in prices))
    else:
        values = ", ".join(f"('AAPL', {p:f}::DECIMAL(38, 12))" for p in prices)
        duckdb.sql(f"SELECT * FROM (VALUES {values}) t(symbol, price)").write_parquet(str(path))
    rounded = [p.quantize(UNIT, ROUND_HALF_EVEN) for p in prices]
    assert play(tmp_path, path=path).ticks == ticks("AAPL", *rounded)


@given(
    prices=st.lists(
        st.floats(1e-8, 9e9, allow_nan=False) | st.decimals(1, 10**6, places=4).map(float),
        min_size=1,
    )
)
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_floats_of_parquet_count_as_their_shortest_decimal(prices, tmp_path):
    path = tmp_path / "tape.parquet"
    path.unlink(missing_ok=True)
    values = ", ".join(f"('AAPL', {p!r}::DOUBLE)" for p in prices)
    duckdb.sql(f"SELECT * FROM (VALUES {values}) t(symbol, price)").write_parquet(str(path))
    rounded = [Decimal(repr(p)).quantize(UNIT, ROUND_HALF_EVEN) for p in prices]
    assert play(tmp_path, path=path).ticks == ticks("AAPL", *rounded)


def test_prices_between_two_units_go_to_the_even_one(tmp_path):
    text = "symbol,price\nAAPL,1.000000005\nAAPL,1.000000015\nAAPL,25e-9\nAAPL,1.0000000050001\n"
    played = play(tmp_path, path=write(tmp_path, text))
    assert played.ticks == ticks("AAPL", 1, "1.00000002", "0.00000002", "1.00000001")
    assert "rounded: 4 prices (100 %)" in played.warnings


# --- rows -----------------------------------------------------------------------------------------


def test_a_few_rows_with_too_many_cells_are_skipped_and_counted(tmp_path):
    rows = "AAPL,1.5\n" * 50 + "AAPL,1,002.00\n" + "AAPL,2.5\n"
    played = play(tmp_path, path=write(tmp_path, f"symbol,price\n{rows}"))
    assert played.ticks == ticks("AAPL", *["1.5"] * 50, "2.5")
    assert "line 52 (AAPL,1,002.00)" in played.warnings


def test_a_quote_that_does_not_close_costs_its_row_only(tmp_path):
    rows = 'AAPL,"1.5"\n' * 1200 + 'AAPL,"2.5\n' + 'AAPL,"3.5"\n' * 100
    played = play(tmp_path, path=write(tmp_path, f"symbol,price\n{rows}"))
    assert played.ticks == ticks("AAPL", *["1.5"] * 1200, *["3.5"] * 100)
    assert played.findings.skipped == 1
    assert "a quote that does not close; the first is line 1,202" in played.warnings


def test_a_cell_over_two_lines_is_one_cell(tmp_path):
    text = 'price,note\n1.5,"a\nb"\n2.5,c\n'
    assert play(tmp_path, path=write(tmp_path, text)).ticks == ticks("AAPL", "1.5", "2.5")


@pytest.mark.parametrize(
    ("text", "played"),
    [
        ("date,close,volume\n2024-01-01,1.5,3\n2024-01-02,1.6,4", ["1.5", "1.6"]),
        ("date,close\n2024-01-01,1.5\n2024-01-02,1.6", ["1.5"]),
        ('date,close\n2024-01-01,"1.5"\n2024-01-02,"1.6"', ["1.5", "1.6"]),
        ("date,close\n2024-01-01,1.5\n2024-01-0", ["1.5"]),
        ("close,date\n1.5,2024-01-01\n1.6,2024-01-0", ["1.5"]),
    ],
)
def test_a_last_line_without_an_end_plays_if_its_needed_cells_are_complete(text, played, tmp_path):
    result = play(tmp_path, path=write(tmp_path, text))
    assert result.ticks == ticks("AAPL", *played)
    assert ("cut off" in result.warnings) == (len(played) == 1)


def test_a_json_line_that_is_cut_is_skipped(tmp_path):
    text = '{"symbol":"AAPL","price":1.5}\n' * 3 + '{"symbol":"AAPL","pri'
    played = play(tmp_path, path=write(tmp_path, text))
    assert played.ticks == ticks("AAPL", *["1.5"] * 3)
    assert "no JSON" in played.warnings


def test_the_same_header_again_costs_its_row_only(tmp_path):
    text = "\ufeffdate,close\n2024-01-02,1.5\n2024-01-03,1.6\n"
    played = play(tmp_path, path=write(tmp_path, text * 2))
    assert played.ticks == ticks("AAPL", "1.5", "1.6") * 2
    assert "line 4" in played.warnings


def test_a_file_that_says_that_it_is_empty_and_is_not_is_read(tmp_path):
    message = assert_refused(tmp_path, "/proc/self/status", path="/proc/self/status")
    assert "cannot be prepared" not in message


def test_a_query_that_needs_too_much_memory_is_refused_without_advice_to_change_settings(tmp_path):
    query = "SELECT 'AAPL' AS symbol, len(list(n)) AS price FROM range(10000000000) rows(n)"
    assert "SET" not in assert_refused(tmp_path, "Out of Memory", query=query)


def test_a_header_alone_is_no_tape(tmp_path):
    assert_refused(tmp_path, "no row below it", path=write(tmp_path, "symbol,price\n"))


# --- order ----------------------------------------------------------------------------------------


def test_a_sort_is_stable_and_refused_without_a_time(tmp_path):
    text = "date,symbol,price\n2024-01-02,AAPL,3\n2024-01-01,AAPL,1\n2024-01-02,AAPL,4\n"
    played = play(tmp_path, path=write(tmp_path, text), time_order="sort")
    assert played.ticks == ticks("AAPL", 1, 3, 4)
    assert played.findings.symbols["AAPL"].first == "1"
    assert played.findings.symbols["AAPL"].last == "4"
    bare = write(tmp_path, "symbol,price\nAAPL,1\n")
    assert_refused(tmp_path, "no column is a time", path=bare, time_order="sort")


def test_one_day_of_times_in_american_order_is_in_order_but_not_among_other_files(tmp_path):
    text = "date,price\n01/02/2024 09:30 AM,1\n01/02/2024 01:00 PM,3\n01/02/2024 12:00 PM,2\n"
    path = write(tmp_path, text, "a.csv")
    assert play(tmp_path, path=path, time_order="sort").ticks == ticks("AAPL", 1, 2, 3)
    assert "times run backwards: 1" in play(tmp_path, path=path).warnings
    write(tmp_path, "date,price\n01/13/2024 09:30 AM,4\n", "b.csv")
    assert_refused(tmp_path, "of other files", path=tmp_path / "*.csv", time_order="sort")


@pytest.mark.parametrize(("first", "later"), [("999", "1.002"), ("1.002", "999")])
def test_what_a_point_means_is_found_from_all_rows(first, later, tmp_path):
    path = write(tmp_path, "price\n" + f"{first}\n" * 1000 + f"{later}\n" * 20)
    assert_refused(tmp_path, "can be 1234 or 1.234", path=path)


def test_a_missing_time_does_not_make_the_first_rows_the_whole_file(tmp_path):
    day = "01/02/2024,1\n" * 999
    path = write(tmp_path, f"time,price\n,1\n{day}03/01/2024,2\n")  # 3 January, or 1 March?
    assert_refused(tmp_path, "can be day, month, year or month", path=path, time_order="sort")


def test_several_files_play_by_name_and_sort_together(tmp_path):
    write(tmp_path, "date,price\n2024-01-02,2\n", "b2.csv")
    write(tmp_path, gzip.compress(b"date;price\n2024-01-03;3,5\n"), "b1.csv")
    pattern = tmp_path / "b*.csv"
    assert play(tmp_path, path=pattern).ticks == ticks("AAPL", "3.5", 2)
    assert play(tmp_path, path=pattern, time_order="sort").ticks == ticks("AAPL", 2, "3.5")


def test_the_identity_changes_with_the_contents_only(tmp_path):
    text = "symbol,price\nAAPL,1\n"
    first = play(tmp_path, path=write(tmp_path, text)).identity
    assert play(tmp_path, path=write(tmp_path, text, "other.csv")).identity == first
    assert play(tmp_path, path=write(tmp_path, text + "AAPL,2\n")).identity != first
    assert play(tmp_path, ["AAPL", "MSFT"], path=write(tmp_path, text)).identity != first


# --- queries --------------------------------------------------------------------------------------


def test_a_query_plays_in_the_order_of_its_rows(tmp_path):
    write(tmp_path, "s,p\nAAPL,1.10\nAAPL,3.30\nAAPL,2.20\n")
    query = f"SELECT s AS symbol, p AS price FROM '{tmp_path}/ta*.csv' ORDER BY p DESC; -- down"
    assert play(tmp_path, query=query).ticks == ticks("AAPL", "3.3", "2.2", "1.1")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT 1; SELECT 2", "is not one SELECT"),
        ("COPY (SELECT 1) TO '{}/stolen.csv'", "is not one SELECT"),
        ("SET threads = 8", "is not one SELECT"),
        ("SELECT * FROM read_text('{}/private*')", "cannot read"),
        ("SELECT * FROM glob('{}/*')", "cannot read"),
        (
            "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
            "cannot read http://127.0.0.1:9/x.csv",
        ),
        ("SELECT * FROM sql", "does not exist"),
        ("SELECT nope FROM range(3)", "nope"),
        ("SELECT 'AAPL' AS symbol, NULL AS price", "its cells are empty"),
        ("SELECT 1 AS price, 2 AS price", "more than one column price"),
        ("SELECT * FROM '{}/none.csv'", "and that are there"),
        ("SELECT 'AAPL' AS symbol, 1 AS price WHERE false", "has no row (symbol, price)"),
        ("SELECT 'AAPL' AS symbol, true AS price", "price has no numbers; the first cell is true"),
    ],
)
def test_a_query_that_is_wrong_or_leaves_its_files_is_refused_in_one_line(query, words, tmp_path):
    hidden = tmp_path / "private" / "file"
    hidden.parent.mkdir()
    hidden.write_text("secret")
    message = assert_refused(tmp_path, words, query=query.format(tmp_path))
    assert message.startswith("the query: ")
    assert "secret" not in message
    assert not (tmp_path / "stolen.csv").exists()


def test_a_query_reads_every_file_that_its_pattern_means(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for price, name in enumerate((".hidden.csv", "a/x.csv", "a/b/y.csv"), 1):
        write(tmp_path, f"symbol,price\nAAPL,{price}\n", name)
    query = f"SELECT symbol, price FROM '{tmp_path}/**/*.csv' ORDER BY price"
    assert play(tmp_path, query=query).ticks == ticks("AAPL", 1, 2, 3)


def test_a_query_that_does_not_end_is_stopped(tmp_path):
    endless = "range(10000000) a, range(10000000) b"
    query = f"SELECT 'AAPL' AS symbol, sum(a.range * b.range) AS price FROM {endless}"
    with pytest.raises(TapeError, match=r"has not ended after 0\.5 s"):
        prepare(TickRecipe(query=query, symbols=("AAPL",)), tmp_path, lambda what, share: None, 0.5)
    assert not (tmp_path / SCRATCH).exists()


class StopError(Exception):
    pass


def test_progress_is_reported_and_stops_the_work_by_raising(tmp_path):
    path = write(tmp_path, "symbol,price\n" + "AAPL,1.5\n" * 400_000)
    shares = []
    target = tmp_path / "whole"
    target.mkdir()
    recipe = TickRecipe(path=str(path), symbols=("AAPL",))
    prepare(recipe, target, lambda what, share: shares.append(share))
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1

    def stop(what, share):
        raise StopError

    stopped = tmp_path / "stopped"
    stopped.mkdir()
    with pytest.raises(StopError):
        prepare(recipe, stopped, stop)
    assert not (stopped / SCRATCH).exists()


# --- what is no table -----------------------------------------------------------------------------


def test_what_is_no_file_is_refused_by_name(tmp_path):
    assert_refused(tmp_path, "there is no such file", path=tmp_path / "none.csv")
    assert_refused(tmp_path, "there is no such file", path=tmp_path / "none*.csv")
    for name in ("x" * 300, "x" * 300 + "[a]"):
        assert_refused(tmp_path, name, path=tmp_path / name)
    assert_refused(tmp_path, "is a directory", path=tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert_refused(tmp_path, "is a pipe", path=tmp_path / "pipe")
    lfs = write(tmp_path, "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n")
    assert_refused(tmp_path, "git-lfs", path=lfs)
    assert_refused(tmp_path, "zip", path=write(tmp_path, b"PK\x03\x04" + b"\x00" * 40))
    broken = write(tmp_path, b"PAR1" + b"x" * 100)
    assert_refused(tmp_path, str(broken), path=broken)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = write(tmp_path, "symbol,price\n" + "AAPL,1.5\n" * 400_000)
    size = path.stat().st_size

    def grow(what, share):
        if path.stat().st_size == size:
            with path.open("a") as file:
                file.write("AAPL,9\n")

    target = tmp_path / "prepared"
    target.mkdir()
    with pytest.raises(TapeError, match="has changed while it was read"):
        prepare(TickRecipe(path=str(path), symbols=("AAPL",)), target, grow)


# --- sentiments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("sentiment\n55.0\n60\n", [55, 60]),
        ("date,Score\n2024-01-01,55\n", [55]),
        ("whatever\n7\n100\n", [7, 100]),
        ("55\n60\n", [55, 60]),
        ("value\n50\n60\n7", [50, 60]),
        ("value\n" + "50\n" * 40 + "abc\n101\n60\n", [50] * 40 + [60]),
    ],
)
def test_sentiments_are_whole_numbers_from_0_to_100(text, values, tmp_path):
    assert play_news(tmp_path, path=write(tmp_path, text))[0] == values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sentiment\n-0.5\n0.5\n", r"scale of -1 to 1.*round\(\(sentiment \+ 1\) \* 50\)"),
        ("sentiment\n0.25\n0.5\n", r"scale of 0 to 1.*round\(sentiment \* 100\)"),
        ("sentiment\n7.5\n3\n", r"scale of 0 to 10.*round\(sentiment \* 10\)"),
        ("sentiment\n-70\n30\n", r"scale of -100 to 100.*round\(\(sentiment \+ 100\) / 2\)"),
        ("sentiment\n700\n300\n", r"300 to 700.*round\(100 \* sentiment / 700\)"),
        ("sentiment\n55.5\n60\n", r"are not whole.*round\(sentiment\)"),
        ("date,a,b\n2024-01-01,1,2\n", "columns date, a, b"),
        ("sentiment\nabc\n", "has no numbers"),
    ],
)
def test_another_scale_is_refused_by_name_with_the_query_that_maps_it(text, words, tmp_path):
    with pytest.raises(TapeError, match=words):
        play_news(tmp_path, path=write(tmp_path, text))


def test_the_query_that_a_message_gives_maps_the_file(tmp_path):
    path = write(tmp_path, "date,sentiment\n2024-01-01,-0.5\n2024-01-02,1\n")
    with pytest.raises(TapeError) as caught:
        play_news(tmp_path, path=path)
    query = str(caught.value).partition('"""')[2].rstrip('"')
    assert play_news(tmp_path, query=query)[0] == [25, 100]
