"""The order book as a process, against a gateway that the test plays itself."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from lib.shared_memory_utils import PriceBookReader, SharedPriceBook
from tests.clients import NOISE, FakeServer, Peer
from tests.helpers import wait_until
from tests.stack import PrivateStack

SYMBOLS = ["AAPL", "MSFT"]
TAPE = "tape-1"


class BookedTick(NamedTuple):
    """A tick as it stands in the book; the price in cents."""

    tape: str
    sequence: int
    symbol: str
    cents: int
    sent_ns: int


class World:
    """An order book, the gateway it talks to, and a reader of everything it has booked."""

    def __init__(self) -> None:
        self.stack = PrivateStack({"": {"symbols": SYMBOLS}})
        self.gateway = FakeServer(self.stack.price_port)
        self.process = self.stack.start_by_hand("orderbook")
        self._book: SharedPriceBook | None = None
        self._reader: PriceBookReader
        self._ticks: list[BookedTick] = []

    @property
    def book(self) -> SharedPriceBook:
        if self._book is None:
            self.stack.wait_for_event("orderbook", "started")
            self._book = SharedPriceBook.attach(self.stack.book_name)
            self._reader = self._book.reader(0)
        return self._book

    def accept(self, asks: bytes) -> Peer:
        """The book's next connection, on which it asks for what it should."""
        peer = self.gateway.accept()
        assert peer.frame() == asks
        return peer

    def join(self, asks: bytes = b"HELLO,1,1", *, first: int = 1, tape: str = TAPE) -> Peer:
        """The same, with the gateway's answer."""
        peer = self.accept(asks)
        peer.send(b"HELLO,1,%b,%d*" % (tape.encode(), first))
        return peer

    def booked_so_far(self) -> list[BookedTick]:
        book = self.book
        batch = self._reader.read()
        assert batch.missed is None
        for _, sequence, price, sent_ns, symbol, epoch in batch.ticks.tolist():
            cents, rest = divmod(price, 10**6)
            assert rest == 0
            self._ticks.append(
                BookedTick(book.tape(epoch), sequence, book.symbols[symbol], cents, sent_ns)
            )
        return self._ticks

    def booked(self, count: int) -> list[BookedTick]:
        """All ticks of the book, once there are this many."""
        wait_until(lambda: len(self.booked_so_far()) >= count, f"{count} ticks are in the book")
        assert len(self._ticks) == count
        return self._ticks

    def booked_to(self, symbol: str) -> list[BookedTick]:
        """All ticks of the book, once the last is one of this symbol."""

        def there() -> bool:
            ticks = self.booked_so_far()
            return bool(ticks) and ticks[-1].symbol == symbol

        wait_until(there, f"a tick of {symbol} is in the book")
        return self._ticks

    def sequences(self, count: int) -> list[int]:
        return [tick.sequence for tick in self.booked(count)]

    def events(self, event: str) -> list[dict[str, Any]]:
        return self.stack.events("orderbook", event)

    def counted(self, event: str) -> int:
        """How many events of a kind the book has logged, over all lines."""
        return sum(entry["count"] for entry in self.events(event))

    def close(self) -> None:
        self.gateway.close()
        if self._book is not None:
            self._book.close()
        self.stack.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def batch(first: int, *frames: bytes, sent_ns: int = 1) -> bytes:
    header = b"BATCH,%d,%d,%d*" % (first, len(frames), sent_ns)
    return header + b"".join(frame + b"*" for frame in frames)


# --- what is booked


def test_the_book_holds_what_was_sent_with_numbers_and_times(world: World) -> None:
    peer = world.join()
    peer.send(batch(1, b"AAPL,172.53", b"MSFT,325.20", sent_ns=700))
    peer.send(batch(3, sent_ns=800))
    peer.send(batch(3, b"AAPL,172.5", sent_ns=900))
    assert world.booked(3) == [
        (TAPE, 1, "AAPL", 17253, 700),
        (TAPE, 2, "MSFT", 32520, 700),
        (TAPE, 3, "AAPL", 17250, 900),
    ]
    assert world.book.read("AAPL") == 172.5
    assert world.book.read("MSFT") == 325.2


def test_however_the_stream_is_split_the_book_holds_the_same(world: World) -> None:
    chance = random.Random(11)
    sent = [
        BookedTick(TAPE, n, chance.choice(SYMBOLS), chance.randint(1, 10**7), 0)
        for n in range(1, 30_001)
    ]
    stream = b""
    begin = 0
    while begin < len(sent):
        ticks = sent[begin : begin + chance.choice([0, 1, 2, 30, 300, 5000])]
        frames = [b"%b,%d.%02d" % (t.symbol.encode(), *divmod(t.cents, 100)) for t in ticks]
        stream += batch(begin + 1, *frames, sent_ns=0)
        begin += len(ticks)
    peer = world.join()
    while stream:
        size = chance.choice([1, 2, 7, 100, 3000, 60_000])
        peer.send(stream[:size])
        stream = stream[size:]
    assert world.booked(len(sent)) == sent


def test_plain_frames_before_the_answer_are_skipped(world: World) -> None:
    peer = world.accept(b"HELLO,1,1")
    peer.send(b"AAPL,1.00*MSFT,2.00*")
    peer.send(b"AAPL,3.00*HELLO,1,tape-1,1*BATCH,1,1,5*AAPL,4.00*")
    assert world.booked(1) == [(TAPE, 1, "AAPL", 400, 5)]


# --- reconnecting


def test_the_book_may_start_before_its_gateway() -> None:
    stack = PrivateStack({"": {"symbols": SYMBOLS}})
    try:
        stack.start_by_hand("orderbook")
        stack.wait_for_event("orderbook", "started")
        gateway = FakeServer(stack.price_port)
        with gateway.accept() as peer:
            assert peer.frame() == b"HELLO,1,1"
        gateway.close()
    finally:
        stack.close()


def test_after_a_cut_the_book_asks_for_what_it_missed(world: World) -> None:
    with world.join() as peer:
        peer.send(batch(1, b"AAPL,1.00", b"AAPL,2.00", b"AAPL,3.00"))
        world.booked(3)
    with world.join(b"HELLO,1,4,tape-1", first=4) as peer:
        peer.send(batch(4, b"AAPL,4.00"))
        assert world.sequences(4) == [1, 2, 3, 4]
    assert [e["missed"] for e in world.events("connected")] == [0, 0]
    assert world.events("ticks_missed") == []


def test_a_cut_in_the_middle_of_a_batch_loses_and_repeats_nothing(world: World) -> None:
    with world.join() as peer:
        peer.send(b"BATCH,1,4,5*AAPL,1.00*AAPL,2.00*AAPL,3.")
        world.booked(2)
    peer = world.join(b"HELLO,1,3,tape-1", first=3)
    peer.send(batch(3, b"AAPL,3.00", b"AAPL,4.00"))
    assert [tick.cents for tick in world.booked(4)] == [100, 200, 300, 400]


def test_ticks_that_the_book_has_already_are_not_booked_again(world: World) -> None:
    with world.join() as peer:
        peer.send(batch(1, b"AAPL,1.00", b"AAPL,2.00", b"AAPL,3.00"))
        world.booked(3)
    peer = world.join(b"HELLO,1,4,tape-1", first=2)
    peer.send(batch(2, b"AAPL,2.00", b"AAPL,3.00", b"AAPL,4.00") + batch(5, b"AAPL,5.00"))
    assert world.sequences(5) == [1, 2, 3, 4, 5]


def test_ticks_that_are_gone_are_told_by_number(world: World) -> None:
    with world.join() as peer:
        peer.send(batch(1, b"AAPL,1.00", b"AAPL,2.00"))
        world.booked(2)
    peer = world.join(b"HELLO,1,3,tape-1", first=100)
    peer.send(batch(100, b"AAPL,5.00"))
    assert world.sequences(3) == [1, 2, 100]
    (missed,) = world.events("ticks_missed")
    assert (missed["first"], missed["last"], missed["where"]) == (3, 99, "gateway")


def test_a_new_tape_begins_a_new_epoch(world: World) -> None:
    with world.join() as peer:
        peer.send(batch(1, b"AAPL,1.00", b"AAPL,2.00"))
        world.booked(2)
    with world.join(b"HELLO,1,3,tape-1", tape="tape-2") as peer:
        peer.send(batch(1, b"AAPL,7.00"))
        assert [(tick.tape, tick.sequence) for tick in world.booked(3)] == [
            (TAPE, 1),
            (TAPE, 2),
            ("tape-2", 1),
        ]
    assert world.events("ticks_missed") == []
    world.accept(b"HELLO,1,2,tape-2").close()


def test_silence_is_the_death_of_a_numbered_stream_and_not_of_a_plain_one(world: World) -> None:
    plain = World()
    try:
        peer = plain.accept(b"HELLO,1,1")
        wait_until(
            lambda: peer.send(b"AAPL,1.00*") or plain.events("connected"), "the book goes plain"
        )
        with world.join() as numbered:
            numbered.send(batch(1, b"AAPL,1.00"))
            # Nothing more: within a deadline the book hangs up and comes back.
            again = world.join(b"HELLO,1,2,tape-1", first=2)
        again.send(batch(2, b"AAPL,2.00"))
        world.booked(2)
        (lost,) = world.events("disconnected")
        assert "2.5 s" in lost["reason"]
        # The plain one has been silent for longer.
        assert plain.events("disconnected") == []
        ticks = len(plain.booked_so_far())
        peer.send(b"AAPL,9.00*")
        assert plain.booked(ticks + 1)[-1].cents == 900
    finally:
        plain.close()


# --- a server that speaks plain frames only


def test_a_plain_server_is_served_after_a_while_and_the_book_numbers_its_ticks(
    world: World,
) -> None:
    peer = world.accept(b"HELLO,1,1")
    asked = time.monotonic()
    sent = 0

    def another_tick_until_connected() -> bool:
        nonlocal sent
        sent += 1
        peer.send(b"AAPL,%d.00*" % sent)
        return bool(world.events("connected"))

    wait_until(another_tick_until_connected, "the book goes plain")
    assert time.monotonic() - asked >= 1
    peer.send(b"MSFT,0.01*")
    ticks = world.booked_to("MSFT")
    assert [tick.sequence for tick in ticks] == list(range(1, len(ticks) + 1))
    assert {tick.tape for tick in ticks} == {""}
    # From the moment it went plain, none is missing.
    first = ticks[0].cents // 100
    assert [tick.cents // 100 for tick in ticks[:-1]] == list(range(first, sent + 1))


def test_a_late_answer_of_a_server_taken_for_plain_means_reconnect(world: World) -> None:
    peer = world.accept(b"HELLO,1,1")
    wait_until(lambda: peer.send(b"AAPL,1.00*") or world.events("connected"), "the book goes plain")
    peer.send(b"HELLO,1,tape-1,50*")
    peer.frames_until_the_end()
    # Its own numbers mean nothing on the server's tape.
    again = world.join(b"HELLO,1,1")
    again.send(batch(1, b"MSFT,2.00"))
    assert world.booked_to("MSFT")[-1] == (TAPE, 1, "MSFT", 200, 1)
    assert world.events("ticks_missed") == []


# --- a gateway that sends what it should not

MALFORMED = {
    "a negative price": b"AAPL,-1",
    "a price that is no number": b"AAPL,nan",
    "an infinite price": b"AAPL,1e999",
    "a price of nothing": b"AAPL,0",
    "a price too high": b"AAPL,9000000000.00000001",
    "a price with nine decimals": b"AAPL,1.000000001",
    "a price of 5,000 digits": b"AAPL," + b"9" * 5000,
    "no price": b"AAPL,",
    "no comma": b"AAPL",
    "a comma alone": b",",
    "nothing": b"",
    "too many fields": b"AAPL,1.00,2.00",
    "bad UTF-8": b"\xff\xfe,1.00",
    "zeros": b"\0\0\0",
    "nested JSON": b"[" * 10_000,
    "a HELLO": b"HELLO,1,tape-9,1",
}


def test_a_malformed_frame_is_told_by_its_number_and_the_rest_of_the_batch_stands(
    world: World,
) -> None:
    peer = world.join()
    bad = list(MALFORMED.values())
    frames = [frame for each in bad for frame in (b"AAPL,1.00", each)]
    peer.send(batch(1, *frames, b"MSFT,2.00"))
    assert world.sequences(len(bad) + 1) == list(range(1, len(frames) + 2, 2))
    wait_until(lambda: world.counted("malformed_frames") >= len(bad), "they are logged")
    numbers = [n["sequence"] for e in world.events("malformed_frames") for n in e["examples"]]
    assert numbers == list(range(2, len(frames) + 1, 2))
    assert world.events("disconnected") == []


def test_unknown_symbols_are_counted_and_skipped(world: World) -> None:
    peer = world.join()
    unknown = [b"TSLA,1.00", b"aapl,1.00", b"AAPL ,1.00", b"A" * 60_000 + b",1.00"]
    peer.send(batch(1, b"AAPL,1.00", *unknown, b"MSFT,2.00"))
    assert world.sequences(2) == [1, 6]
    wait_until(lambda: world.counted("unknown_symbols") >= 4, "they are logged")
    examples = [example for e in world.events("unknown_symbols") for example in e["examples"]]
    assert [example["sequence"] for example in examples] == [2, 3, 4, 5]
    assert ["AAPL is configured" in example["reason"] for example in examples] == [
        False, True, True, False,
    ]  # fmt: skip
    assert max(len(example["symbol"]) for example in examples) < 100
    assert world.events("malformed_frames") == []


def test_a_flood_of_bad_frames_is_counted_to_the_last_and_told_in_a_few_lines(
    world: World,
) -> None:
    begin = time.monotonic()
    peer = world.join()
    count = 100_000
    for first in range(1, count, 10_000):
        peer.send(batch(first, *[b"AAPL,nan"] * 5000, *[b"TSLA,1.00"] * 5000))
    peer.send(batch(count + 1, b"AAPL,1.00"))
    assert world.sequences(1) == [count + 1]
    for event in ("malformed_frames", "unknown_symbols"):
        wait_until(lambda: world.counted(event) >= count // 2, "all are counted")  # noqa: B023
        assert world.counted(event) == count // 2
        # One a second, however long it took.
        assert len(world.events(event)) <= time.monotonic() - begin + 2
    assert len(world.events("disconnected")) == 0


BROKEN = {
    "a batch that ends early": "BATCH,{0},3,5*AAPL,1.00*BATCH,{2},1,5*AAPL,9.00*",
    "frames too many": "BATCH,{0},1,5*AAPL,1.00*AAPL,9.00*BATCH,{1},0,5*",
    "a number out of turn": "BATCH,{1},1,5*AAPL,9.00*",
    "a number again": "BATCH,1,1,5*AAPL,9.00*",
    "a plain frame without a batch": "AAPL,9.00*",
    "a batch without a count": "BATCH,{0}*AAPL,9.00*",
    "a negative count": "BATCH,{0},-1,5*AAPL,9.00*",
    "a count of 5,000 digits": "BATCH,{0}," + "9" * 5000 + ",5*AAPL,9.00*",
    "a count past all numbers": "BATCH,{0},9223372036854775807,5*AAPL,9.00*",
    "a second answer": "HELLO,1,tape-1,{0}*",
}
"""What may not follow a stream whose next sequence is {0}."""


def test_whatever_breaks_the_protocol_costs_the_connection_and_no_tick(world: World) -> None:
    peer = world.join()
    peer.send(batch(1, b"AAPL,1.00"))
    world.booked(1)
    following = 2
    for text in [*BROKEN.values(), *NOISE.values()]:
        data = (
            text.format(following, following + 1, following + 2).encode()
            if isinstance(text, str)
            else text
        )
        peer.send_until_disconnected(data)
        peer.frames_until_the_end()
        peer.close()
        peer = world.gateway.accept()
        word, version, asked, tape = peer.frame().split(b",")
        assert (word, version, tape) == (b"HELLO", b"1", TAPE.encode())
        # One good frame before the fault may count, and then the book must have it.
        assert int(asked) in (following, following + 1)
        following = int(asked)
        assert world.sequences(following - 1) == list(range(1, following))
        peer.send(b"HELLO,1,%b,%d*" % (TAPE.encode(), following))
    peer.send(batch(following, b"MSFT,2.00"))
    ticks = world.booked(following)
    assert {tick.cents for tick in ticks} == {100, 200}
    assert len(world.events("protocol_error")) == len(BROKEN) + len(NOISE)
    assert world.events("ticks_missed") == []


BAD_ANSWERS = {
    "an answer without FIRST": b"HELLO,1,tape-1*",
    "an answer that begins at 0": b"HELLO,1,tape-1,0*",
    "an answer that begins below 0": b"HELLO,1,tape-1,-1*",
    "an answer of another version": b"HELLO,2,tape-1,1*",
    "an answer with an empty tape": b"HELLO,1,,1*",
    "an answer with a tape of 64 characters": b"HELLO,1," + b"t" * 64 + b",1*",
    "an answer with 5,000 digits": b"HELLO,1,tape-1," + b"1" * 5000 + b"*",
    "an answer that is no text": b"HELLO,1,\xff\xfe,1*",
    "a batch before the answer": b"BATCH,1,1,5*AAPL,9.00*",
    "endless bytes": NOISE["a megabyte without a delimiter"],
}


def test_a_server_that_answers_nonsense_is_left_and_tried_again(world: World) -> None:
    for data in BAD_ANSWERS.values():
        with world.accept(b"HELLO,1,1") as peer:
            peer.send_until_disconnected(data)
            peer.frames_until_the_end()
    peer = world.join()
    peer.send(batch(1, b"AAPL,1.00"))
    assert world.sequences(1) == [1]
    assert len(world.events("protocol_error")) == len(BAD_ANSWERS)
