"""Prepares files for tests, and reads back what would be played."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import numpy as np

from lib.prices import PRICE_SCALE
from lib.tape_files.preparing import SCRATCH, prepare
from lib.tapes.findings import Findings
from lib.tapes.prepared import PRICES, SENTIMENTS, SYMBOLS
from lib.tapes.recipe import NewsRecipe, TickRecipe


class Played(NamedTuple):
    ticks: list[tuple[str, Decimal]]
    findings: Findings
    identity: str

    @property
    def warnings(self) -> str:
        return "\n".join(self.findings.warnings)


def play(directory, symbols=("AAPL",), **recipe) -> Played:
    """Prepare into a new directory below `directory`, and return the ticks."""
    recipe = {name: str(value) for name, value in recipe.items()}
    target = _new(directory)
    about = prepare(TickRecipe(symbols=tuple(symbols), **recipe), target, lambda what, share: None)
    assert not (target / SCRATCH).exists()
    indices = np.fromfile(target / SYMBOLS, dtype=np.int32)
    prices = np.fromfile(target / PRICES, dtype=np.int64)
    assert len(indices) == len(prices) == about.findings.length
    ticks = [
        (about.symbols[index], Decimal(price) / PRICE_SCALE)
        for index, price in zip(indices.tolist(), prices.tolist(), strict=True)
    ]
    return Played(ticks, about.findings, about.identity)


def play_news(directory, **recipe) -> tuple[list[int], Findings]:
    recipe = {name: str(value) for name, value in recipe.items()}
    target = _new(directory)
    about = prepare(NewsRecipe(**recipe), target, lambda what, share: None)
    values = np.fromfile(target / SENTIMENTS, dtype=np.uint8).tolist()
    assert len(values) == about.findings.length
    return values, about.findings


def write(directory, text, name="tape.csv"):
    path = directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def ticks(symbol, *prices):
    return [(symbol, Decimal(price)) for price in prices]


def _new(directory):
    target = directory / f"prepared-{len(list(directory.iterdir()))}"
    target.mkdir()
    return target
