"""Books that the tests of several modules use."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from lib.price_book.book import SharedPriceBook, remove_segments
from tests.price_books import RING, SYMBOLS


@pytest.fixture
def name() -> Iterator[str]:
    """A unique name; all its files are removed at the end."""
    name = f"test-{os.getpid()}-{secrets.token_hex(6)}"
    yield name
    remove_segments(name)


@pytest.fixture
def book(name: str) -> Iterator[SharedPriceBook]:
    with SharedPriceBook(SYMBOLS, name, ring_capacity=RING) as book:
        yield book
