"""Prepared tapes for tests, made without a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from lib.tapes.findings import Findings
from lib.tapes.prepared import ABOUT, PRICES, SENTIMENTS, SYMBOLS, About
from lib.tapes.tape import digest


def write_ticks(
    directory: Path, prices: Sequence[int], symbols: tuple[str, ...] = ("AAPL",)
) -> About:
    """Write a prepared tape whose symbols take turns."""
    contents = np.array(prices, np.int64).tobytes()
    indices = np.arange(len(prices), dtype=np.int32) % np.int32(len(symbols))
    (directory / PRICES).write_bytes(contents)
    (directory / SYMBOLS).write_bytes(indices.tobytes())
    return _write_about(directory, contents, "ticks", len(prices), symbols)


def write_sentiments(directory: Path, sentiments: Sequence[int]) -> About:
    """Write prepared sentiments."""
    contents = bytes(sentiments)
    (directory / SENTIMENTS).write_bytes(contents)
    return _write_about(directory, contents, "sentiments", len(sentiments), ())


def _write_about(
    directory: Path, contents: bytes, kind: str, length: int, symbols: tuple[str, ...]
) -> About:
    about = About(
        kind=kind,  # type: ignore[arg-type]
        identity=f"file-{digest(contents)}",
        symbols=symbols,
        findings=Findings(length=length),
    )
    (directory / ABOUT).write_bytes(msgspec.json.encode(about))
    return about
