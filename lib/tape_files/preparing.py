"""Makes a prepared tape out of what the settings name: a first version, of simple files only."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path

import duckdb
import numpy as np

from lib.prices import decimal_text, to_fixed
from lib.tapes.findings import Findings, SymbolFindings
from lib.tapes.prepared import About
from lib.tapes.prepared_writer import PreparedWriter
from lib.tapes.recipe import Recipe, TickRecipe
from lib.tapes.tape import TapeError


def prepare(recipe: Recipe, directory: Path, progress: Callable[[str, float], None]) -> About:
    """Write the prepared tape into `directory` (made by the caller, empty).

    `progress(what, share 0..1)` is called at least every half second of work and may raise to stop
    it. Raises TapeError, one line, if the tape cannot be played.
    """
    scratch = directory / "scratch"
    scratch.mkdir()
    try:
        return _prepare(recipe, directory, progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _prepare(recipe: Recipe, directory: Path, progress: Callable[[str, float], None]) -> About:
    progress("reading", 0.0)
    with duckdb.connect(config={"threads": 2}) as connection:
        if recipe.query:
            relation = connection.sql(recipe.query)
        else:
            path = Path(recipe.path)
            if not path.exists():
                raise TapeError(f"{path}: there is no such file")
            with path.open("rb") as file:
                is_parquet = file.read(4) == b"PAR1"
            relation = (
                connection.read_parquet(str(path))
                if is_parquet
                else connection.read_csv(str(path), all_varchar=True, header=True)
            )
        names = [name.strip().casefold() for name in relation.columns]
        rows = relation.fetchall()
    progress("reading", 0.5)
    if isinstance(recipe, TickRecipe):
        return _ticks(recipe, directory, names, rows)
    with PreparedWriter(directory, "sentiments") as writer:
        column = names.index("sentiment")
        values = [int(Decimal(str(row[column]))) for row in rows]
        writer.add_sentiments(np.array(values, dtype=np.uint8))
        return writer.finish(Findings())


def _ticks(recipe: TickRecipe, directory: Path, names: list[str], rows: list[tuple]) -> About:
    column = next((names.index(name) for name in ("price", "close") if name in names), None)
    if column is None:
        raise TapeError(f"{recipe.path or 'query'}: found the columns {', '.join(names)}")
    symbol_column = next((names.index(n) for n in ("symbol", "ticker") if n in names), None)
    ticks, skipped = [], 0
    for row in rows:
        symbol = recipe.symbol if symbol_column is None else row[symbol_column]
        if symbol in recipe.symbols:
            try:
                ticks.append((recipe.symbols.index(symbol), to_fixed(Decimal(str(row[column])))))
            except (ValueError, InvalidOperation):
                skipped += 1
    if not ticks:
        raise TapeError(f"{recipe.path or 'query'}: no usable row")
    symbols = {}
    for index, symbol in enumerate(recipe.symbols):
        prices = [price for of, price in ticks if of == index]
        if prices:
            symbols[symbol] = SymbolFindings(
                ticks=len(prices), first=decimal_text(prices[0]), last=decimal_text(prices[-1])
            )
    with PreparedWriter(directory, "ticks", recipe.symbols) as writer:
        indices, prices = zip(*ticks, strict=True)
        writer.add_ticks(np.array(indices, dtype=np.int32), np.array(prices, dtype=np.int64))
        return writer.finish(
            Findings(recognised=["a first version"], symbols=symbols, skipped=skipped)
        )
