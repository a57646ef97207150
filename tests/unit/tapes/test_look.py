"""The text that shows what would be played."""

from __future__ import annotations

from lib.tapes.findings import Findings, SymbolFindings
from lib.tapes.look import SentimentTape, look_lines, most_ticks, sentiment_findings
from tests.array_tapes import ArrayTape

SYMBOLS = ("AAPL", "MSFT")


def findings(**changes) -> Findings:
    """What is found of `tape`."""
    found = {
        "recognised": ["CSV: comma", "price in close"],
        "length": 12,
        "symbols": {
            "AAPL": SymbolFindings(ticks=11, first="185.23", last="196.5"),
            "MSFT": SymbolFindings(ticks=1, first="0.00000001", last="0.00000001"),
        },
    }
    return Findings(**{**found, **changes})


def tape() -> ArrayTape:
    prices = [185.23, *range(186, 191), 0.00000001, *range(191, 195), 196.5]
    return ArrayTape([0] * 6 + [1] + [0] * 5, prices)


def shown(found: Findings, *, unicode: bool = True, columns: int = 80) -> list[str]:
    lines = look_lines("/a/b.csv", found, tape(), SYMBOLS, columns=columns, unicode=unicode)
    return list(lines)


def test_it_says_what_was_recognised():
    assert shown(findings())[:3] == ["/a/b.csv", "  CSV: comma", "  price in close"]


def test_it_lists_the_ticks_of_each_symbol_with_their_share_and_extremes():
    lines = [" ".join(line.split()) for line in shown(findings())]
    assert "AAPL 11 91.7 % 185.23 196.50 185.23 196.50" in lines
    assert "MSFT 1 8.3 % 0.00000001 0.00000001 0.00000001 0.00000001" in lines


def test_it_shows_the_first_and_the_last_ticks_in_the_order_of_playing():
    lines = [line.split() for line in shown(findings())]
    begin = lines.index(["tick", "symbol", "price"])
    assert lines[begin + 1 : begin + 12] == [
        ["1", "AAPL", "185.23"],
        *([str(n), "AAPL", f"{184 + n}.00"] for n in range(2, 6)),
        ["..."],
        ["8", "AAPL", "191.00"],
        *([str(n), "AAPL", f"{183 + n}.00"] for n in range(9, 12)),
        ["12", "AAPL", "196.50"],
    ]


def test_a_short_tape_is_shown_whole_and_once():
    few = ArrayTape([0] * 7, range(1, 8))
    one = {"AAPL": SymbolFindings(ticks=7, first="1", last="7")}
    lines = look_lines("", findings(symbols=one, length=7), few, SYMBOLS, columns=9, unicode=True)
    numbers = [line.split()[0] for line in lines if line.split()[1:2] == ["AAPL"]]
    assert numbers == list("1234567")


def test_every_warning_is_whole_and_on_a_line_of_its_own():
    long = "x" * 1000
    lines = shown(findings(warnings=["one", long]))
    assert lines[-3:-1] == ["warning: one", f"warning: {long}"]


def test_rows_that_are_not_played_are_counted_with_their_share():
    lines = shown(findings(skipped=3, other_symbols={"NVDA": 1999, "IBM": 1}))
    assert lines[-2:] == [
        "of symbols that are not configured: 2,000 of 2,015 rows (99.3 %)",
        "skipped: 3 of 2,015 rows (0.1 %)",
    ]


def test_a_share_is_never_none_or_all_of_it_if_it_is_not():
    lines = shown(findings(skipped=1, other_symbols={"NVDA": 999_999}))
    assert lines[-2].split("(")[1].startswith("> 99.9 %")
    assert lines[-1].endswith("(< 0.1 %)")


def test_text_of_the_file_cannot_control_the_terminal():
    lines = shown(findings(warnings=["a\x1b[2Jb"], recognised=["c\x07"], other_symbols={"\x1b": 1}))
    assert all(line.isprintable() for line in lines)


def test_the_charts_are_as_wide_as_the_terminal_and_ascii_where_it_has_no_more():
    length = 1000
    rising = ArrayTape([0] * length, range(1, length + 1))
    one = {"AAPL": SymbolFindings(ticks=length, first="1", last=str(length))}
    found = findings(symbols=one, length=length)
    for unicode in (True, False):
        lines = list(look_lines("", found, rising, SYMBOLS, columns=133, unicode=unicode))
        assert max(map(len, lines)) == 133
        assert "\n".join(lines).isascii() is not unicode


def test_of_many_symbols_those_with_the_most_ticks_are_shown_in_the_order_of_the_settings():
    ticks = {"A": 1, "B": 9, "C": 3, "D": 9}
    found = Findings(
        symbols={name: SymbolFindings(ticks=n, first="1", last="1") for name, n in ticks.items()}
    )
    assert most_ticks(found, 3) == ["B", "C", "D"]


def test_ten_thousand_symbols_take_a_bounded_number_of_lines():
    names = tuple(f"S{n}" for n in range(10_000))
    found = findings(
        length=10_000,
        symbols={name: SymbolFindings(ticks=1, first="1", last="1") for name in names},
    )
    every = ArrayTape(range(10_000), [1.0] * 10_000)
    lines = list(look_lines("", found, every, names, columns=80, unicode=True))
    assert len(lines) < 80
    assert "and 9,980 more symbols with fewer ticks" in lines


class _Sentiments:
    identity = "s"
    length = 2

    def read(self, first: int, count: int) -> list[int]:
        return [55, 0][first - 1 : first - 1 + count]


def test_sentiments_are_shown_as_the_ticks_of_one_symbol():
    news = _Sentiments()
    found = sentiment_findings(Findings(length=2, warnings=["w"]), news)
    lines = list(
        look_lines("", found, SentimentTape(news), ["sentiment"], columns=80, unicode=True)
    )
    rows = [" ".join(line.split()) for line in lines]
    assert "sentiment 2 100.0 % 55.00 0.00 0.00 55.00" in rows
    assert "2 sentiment 0.00" in rows
    assert "warning: w" in lines
