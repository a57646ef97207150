"""What columns are called in the files that people have, and how a name says its symbol.

Names are compared by `plain_name`: trimmed, in one case, `_` as a blank.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from lib.tape_files.number_format import ANY_CURRENCY

PRICE_NAMES: Final = (  # the first that a file has is its price
    *("price", "close", "last", "mid"),
    *("close/last", "close price", "closing price", "closeprice", "last price", "lastprice"),
    *("trade price", "tradeprice", "mid price", "midprice", "4. close", "px last"),
    *("schluss", "schlusskurs", "schlußkurs", "zuletzt", "letzter", "kurs", "preis"),
    *("clôture", "cloture", "dernier", "cours", "prix"),
    *("cierre", "último", "ultimo", "precio"),
    *("chiusura", "prezzo", "fechamento", "preço", "preco"),
    *("slotkoers", "slot", "koers", "laatste", "prijs"),
    *("zamknięcie", "zamkniecie", "kurs zamknięcia"),
    *("stängning", "stängningskurs", "slutkurs", "senast", "lukukurssi", "sluttkurs", "siste"),
    *("záver", "zavření", "cena", "kapan\u0131\u015f", "fiyat", "záró", "закрытие", "цена"),
    *("收盘", "收盘价", "收盤價", "終値", "종가"),
    *("mid.c", "settle", "settlement price", "last sale", "last traded price", "ltp", "nav"),
    *("adj close", "adjclose", "adj. close", "adjusted close"),
)
QUOTE_NAMES: Final = (
    ("bid", "ask"),
    ("bid price", "ask price"),
    ("bidprice", "askprice"),
    ("best bid", "best ask"),
    ("best bid price", "best ask price"),
    ("bid px 00", "ask px 00"),
    ("bid", "offer"),
)
_BAR_LETTERS: Final = frozenset(["o", "h", "l", "c"])
_LETTER_OF_CLOSE: Final = "c"
SYMBOL_NAMES: Final = ("symbol", "ticker")
OTHER_SYMBOL_NAMES: Final = (
    *("sym", "symbols", "tickers", "tic", "name", "instrument", "security", "stock", "asset"),
    *("pair", "coin", "contract", "product id", "ric", "act symbol", "stock symbol"),
    *("ticker symbol", "stock name", "secid", "isin"),
)
"""What else a column of symbols is called. One whose cells are not symbols of ours does not count,
unless the whole file would be played as one symbol."""
TIME_NAMES: Final = (  # the first whose times are understood
    *("timestamp", "datetime", "date", "time"),
    *("date/time", "date time", "gmt time", "utc time", "local time", "time utc", "open time"),
    *("ts", "ts event", "ts recv", "unix", "unix time", "epoch", "window start", "trade time"),
    *("trade date", "trading date", "created at", "t", "day", "sip timestamp"),
    *("participant timestamp", "datum", "zeit", "zeitpunkt", "fecha", "data", "jour", "dia"),
    *("tarih", "dátum", "päivämäärä", "дата", "日期", "日付", "日付け", "날짜"),
)
CLOCK_NAMES: Final = ("time", "zeit", "uhrzeit", "heure", "hora", "ora", "tijd", "godzina", "时间")
"""What a clock time beside a date is called."""
INDEX_NAMES: Final = ("", "index", "unnamed: 0", "level 0", "index level 0")
"""What the first column may be called where pandas wrote its index."""
SENTIMENT_NAMES: Final = ("sentiment", "score", "value")

_TUPLE: Final = re.compile(r"\(\s*['\"](.*?)['\"]\s*,\s*['\"](.*?)['\"]\s*\)")
_JOINTS: Final = "_ .-:/|"
_UNIT: Final = re.compile(rf"[\s_/(\[]+(?:in )?(?:{ANY_CURRENCY})[)\]]?$", re.IGNORECASE)


class PriceName(NamedTuple):
    """A name such as `Close_AAPL`: which price of which symbol."""

    word: str
    symbol: str


def plain_name(name: str) -> str:
    """Return a name for comparing: `<CLOSE>`, `Close*` and `Close (USD)` are `close`."""
    trimmed = _UNIT.sub("", name.strip(" \t\ufeff<>[]\"'#*_"))
    return " ".join(trimmed.replace("_", " ").split()).casefold()


def price_name(names: Sequence[str]) -> str | None:
    """Return the first of PRICE_NAMES that is among `names` (plain); None if there is none."""
    for wanted in PRICE_NAMES:
        if wanted in names:
            return wanted
    return _LETTER_OF_CLOSE if _BAR_LETTERS.issubset(names) else None


def flattened(name: str) -> Iterator[PriceName]:
    """Yield how a name can be read as a price and a symbol: `Close_AAPL`, `('Close', 'AAPL')`."""
    pairs = []
    if found := _TUPLE.fullmatch(name.strip()):
        pairs.append((found[1], found[2]))
    else:
        text = name.strip()
        pairs += [
            (text[:at], text[at + 1 :]) for at, letter in enumerate(text) if letter in _JOINTS
        ]
    for first, second in pairs:
        for word, symbol in ((first, second), (second, first)):
            symbol = symbol.strip(" ()[]")
            if plain_name(word) in PRICE_NAMES and symbol:
                yield PriceName(plain_name(word), symbol)
