"""Why a frame is no tick, or no sentiment, in words that help to fix the feed.

Pure. The codec only marks a frame as malformed, as quickly as it can; the reason is computed for
the few examples that reach the log.
"""

from __future__ import annotations

import re
from typing import Any, Final

from lib.prices import MAX_PRICE, PRICE_DECIMALS, PRICE_SCALE
from lib.text import shown
from lib.wire.stream_messages import BATCH, HELLO
from lib.wire.tick_codec import MAX_SENTIMENT

_A_TICK: Final = "a tick is SYMBOL,PRICE"
_A_SENTIMENT: Final = f"a sentiment is a whole number from 0 to {MAX_SENTIMENT}"
_WHOLE_DIGITS: Final = 10
MAX_EXPLAINED_BYTES: Final = 64
"""The longest frame that is explained, longer than every tick and sentiment. Of a longer frame only
its length is reported, so the cost and the length of a reason are bounded."""

_NUMBER: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?", re.ASCII)
_DECIMAL: Final = r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"  # one way to match: no backtracking
_SIGNED: Final = re.compile(_DECIMAL, re.ASCII)
_EXPONENT: Final = re.compile(rf"{_DECIMAL}[eE][-+]?[0-9]+", re.ASCII)
_POINT_PRICE: Final = re.compile(r"[0-9]+\.[0-9]+", re.ASCII)
_DECIMAL_COMMA: Final = re.compile(
    r"(?:[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+)", re.ASCII
)
_EITHER_COMMA: Final = re.compile(r"[0-9]{1,3},[0-9]{3}", re.ASCII)
_THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?:([,'_\s])[0-9]{3})(?:\1[0-9]{3})*(?:[.][0-9]+)?")
_NO_NUMBER: Final = frozenset({"nan", "null", "none", "n/a", "na", "inf", "infinity", "-"})


def malformed_tick(sequence: int, frame: bytes) -> dict[str, Any]:
    """Return what is logged of a frame of the price stream that is no tick."""
    return {"sequence": sequence, "text": shown(frame), "reason": tick_fault(frame)}


def malformed_sentiment(sequence: int, frame: bytes) -> dict[str, Any]:
    """Return what is logged of a frame of the news stream that is no sentiment."""
    return {"sequence": sequence, "text": shown(frame), "reason": sentiment_fault(frame)}


def tick_fault(frame: bytes) -> str:
    """Return why a frame, without its delimiter, is no tick, and what would be right."""
    if fault := _fault_of_text(frame, _A_TICK):
        return fault
    text = frame.decode()
    for word in (HELLO, BATCH):
        if frame.startswith(word):
            return f"a {word.decode().rstrip(',')} out of place"
    if text[0] in "{[":
        return f"JSON? {_A_TICK}"
    if len(frame) > MAX_EXPLAINED_BYTES:
        return f"{len(frame):,} bytes: a tick has at most {MAX_EXPLAINED_BYTES}"
    symbol, comma, price = text.partition(",")
    if not comma:
        is_sentiment = text.isdecimal() and len(text) <= len(str(MAX_SENTIMENT))
        return f"no comma: {_A_TICK}" + ("; a sentiment on the price port?" if is_sentiment else "")
    if not symbol:
        return f"no symbol before the comma: {_A_TICK}"
    if not symbol.isprintable():
        return "the symbol has characters that cannot be printed"
    if _POINT_PRICE.fullmatch(symbol) and price[:1].isalpha() and price.lower() not in _NO_NUMBER:
        return f"symbol and price in each other's place? {_A_TICK}"
    return _price_fault(price)


def sentiment_fault(frame: bytes) -> str:
    """Return why a frame, without its delimiter, is no sentiment, and what would be right."""
    if fault := _fault_of_text(frame, _A_SENTIMENT):
        return fault
    if len(frame) > MAX_EXPLAINED_BYTES:
        return f"{len(frame):,} bytes: {_A_SENTIMENT}"
    text = frame.decode()
    fault = f"{_A_SENTIMENT}, got '{shown(frame)}'"
    if "," in text and not text.replace(",", "").isdecimal():
        return f"{fault}: a tick on the news port?"
    if _SIGNED.fullmatch(text):
        value = float(text)
        if -1 <= value <= 1:
            return f"{fault}: on another scale, -1 to 1 or 0 to 1?"
        if 0 <= value <= MAX_SENTIMENT:
            return f"{fault}: {value:.0f}?"
    return fault


def _fault_of_text(frame: bytes, wanted: str) -> str | None:
    """Return what is wrong with a frame on either stream; None if nothing is."""
    if not frame:
        return f"an empty frame: {wanted}"
    try:
        text = frame.decode()
    except UnicodeDecodeError:
        return f"not UTF-8: {wanted}"
    if "\n" in text or "\r" in text:
        if len(text.split()) > 1:
            return f"several lines: a feed of lines? {wanted}, and each ends in `*`"
        return "a line break beside the `*`: a message ends in `*` alone"
    if text != text.strip():
        return "a space around it: a message has none"
    return None


def _price_fault(price: str) -> str:
    if not price:
        return f"no price after the comma: {_A_TICK}"
    if price != price.strip():
        return "a space beside the price"
    if "," in price:
        return _comma_fault(price)
    if price.lower().lstrip("+-") in _NO_NUMBER:
        return f"{price} is no price: leave such a tick out"
    if _THOUSANDS.fullmatch(price):
        return f"thousands separators: {re.sub(r'[^0-9.]', '', price)}?"
    if _EXPONENT.fullmatch(price):
        return "an exponent: write the digits out"
    if price[0] in "+-" and _SIGNED.fullmatch(price):
        return "a negative price" if price[0] == "-" else "a sign: a price has none"
    match = _NUMBER.fullmatch(price)
    if match is None or price == ".":
        return f"a price is digits, and perhaps a point and 1 to {PRICE_DECIMALS} more"
    whole, decimals = match.groups()
    return _number_fault(whole, decimals)


def _number_fault(whole: str, decimals: str | None) -> str:
    if not whole:
        return f"no digit before the point: 0.{decimals}?"
    if decimals == "":
        return f"no digit after the point: {whole}?"
    if decimals and len(decimals) > PRICE_DECIMALS:
        return f"{len(decimals)} decimals, at most {PRICE_DECIMALS}"
    if not (whole + (decimals or "")).strip("0"):
        return "a price of 0: a price is above 0"
    if len(whole) > _WHOLE_DIGITS and len(whole.lstrip("0")) <= _WHOLE_DIGITS:
        return f"{len(whole)} digits before the point, at most {_WHOLE_DIGITS}"
    return f"above the highest price, {MAX_PRICE // PRICE_SCALE:,}"


def _comma_fault(price: str) -> str:
    if _EITHER_COMMA.fullmatch(price):
        whole, _, rest = price.partition(",")
        return f"a comma in the price: {whole}{rest}, or {whole}.{rest}?"
    if _THOUSANDS.fullmatch(price):
        return f"thousands separators: {price.replace(',', '')}?"
    if _DECIMAL_COMMA.fullmatch(price):
        return f"a decimal comma: {price.replace('.', '').replace(',', '.')}?"
    return f"{price.count(',') + 2} fields: {_A_TICK}"
