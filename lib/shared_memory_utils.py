"""The public face of the price book: the latest prices and every tick, in shared memory.

    from lib.shared_memory_utils import MAX_SLEEP_S, SharedPriceBook

    book = SharedPriceBook.attach("tradewire-price-book")   # of a running stack
    book.read("AAPL")                                       # the latest price; NaN before the first

    reader = book.reader()                                  # every tick from now on
    while True:
        reader.wait(MAX_SLEEP_S)
        for tick in reader.read().ticks:
            print(book.symbols[tick["symbol"]], tick["sequence"], tick["price"] / 1e8)

`SharedPriceBook(symbols)` makes a book of your own, and its `update` publishes a tick. How it
works, and what holds when a process is killed at any instruction, is in `lib.price_book`.
"""

from lib.price_book.book import (
    MAX_SLEEP_S,
    Batch,
    PriceBookError,
    PriceBookInUse,
    PriceBookMismatch,
    PriceBookReader,
    ResumePoint,
    SharedPriceBook,
    Tick,
    remove_segments,
)

__all__ = [
    "MAX_SLEEP_S",
    "Batch",
    "PriceBookError",
    "PriceBookInUse",
    "PriceBookMismatch",
    "PriceBookReader",
    "ResumePoint",
    "SharedPriceBook",
    "Tick",
    "remove_segments",
]
