"""CPU and memory of a stack at rest, and the size of its shared memory."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace

from bench.errors import BenchError
from bench.measure.measured_stack import UsageMeter, measured_stack, symbols_of
from bench.results import Recording, SegmentSize
from lib.price_book.segment import SegmentLayout
from lib.price_book.segment_files import SHM_DIR
from lib.settings import Settings
from lib.shared_memory_utils import SharedPriceBook

FILL_RATE: Final = 200_000.0
"""The rate at which the ring is filled, in ticks a second."""
FILL_S: Final = 15.0
"""How long filling the ring may take."""
REPLAY_S: Final = 15.0
"""How long a client waits for more of the ticks that it asks for again."""
COME_TO_REST_S: Final = 2.0
LOOK_S: Final = 0.05
BATCH_TICKS: Final = 4096


def measure_segments(symbols: Sequence[int], found: Recording) -> None:
    """Measure a price book with each of these numbers of symbols."""
    found.segments += map(measure_segment, symbols)


def measure_segment(symbols: int) -> SegmentSize:
    """Make a price book with the default ring, fill it once, and measure its file."""
    capacity = Settings().price_book.ring_capacity
    names = symbols_of(symbols)
    with SharedPriceBook(names, ring_capacity=capacity) as book:
        sequence = 0
        book.begin_epoch("tape")
        while sequence < max(capacity, symbols):
            numbers = np.arange(sequence, sequence + BATCH_TICKS)
            book.update_batch((numbers % symbols).astype(np.int32), numbers + 1, numbers + 1, 1)
            sequence += BATCH_TICKS
        blocks = (SHM_DIR / book.name).stat().st_blocks
    return SegmentSize(
        symbols, capacity, SegmentLayout.of(names, capacity).total_bytes, 512 * blocks
    )


def measure_at_rest(seconds: float, found: Recording) -> None:
    """Measure the usage of the daemons of a stack with the default settings. Raises BenchError.

    After a long run, the ring is full and the gateway holds its replay. At the default rate that
    takes some 20 minutes, so the ring is filled at a higher rate first, and the gateway is then
    restarted with the default one. To make the new gateway encode its replay, a client requests all
    of it.
    """
    settings = Settings()
    fast = replace(settings, gateway=replace(settings.gateway, rate=FILL_RATE))
    with measured_stack(fast) as stack:
        capacity = settings.price_book.ring_capacity
        give_up_s = time.monotonic() + FILL_S
        while stack.published().last <= capacity + FILL_RATE * LOOK_S:
            if time.monotonic() > give_up_s:
                raise BenchError(f"the ring is not full after {FILL_S:g} s")
            time.sleep(LOOK_S)
        stack.set_rate(settings.gateway.rate)
        take_replay(stack.settings)
        time.sleep(COME_TO_REST_S)
        meter = UsageMeter(stack)
        time.sleep(seconds)
        found.at_rest += meter.read()


def take_replay(settings: Settings) -> None:
    """Request all ticks that the gateway can replay, as a new client. Raises BenchError."""
    wanted = ticks = settings.price_book.ring_capacity  # by default the replay is as long
    try:
        address = settings.gateway.host, settings.gateway.price_port
        with socket.create_connection(address, REPLAY_S) as sock:
            sock.sendall(b"HELLO,1,1*")
            while ticks > 0:
                data = sock.recv(1 << 20)
                if not data:
                    raise BenchError("the gateway has closed the connection of a replay")
                ticks -= data.count(b"*")
    except OSError as error:
        raise BenchError(f"no replay of {wanted:,} ticks: {error}") from None
