"""The brokers by NATS JetStream: the only module that imports their library, nats-py.

The library runs in a thread of its own, on asyncio; the daemon stays on its event loop, and neither
can hold the other up. What is asked goes to the thread, what comes back is handed to `on_event` on
the event loop. An answer that does not come in time is a `Failed`, by a clock that the thread does
not have: so nothing that the library forgets is waited for.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from lib.clock import SECOND_NS
from lib.cluster.broker import (
    ANSWER_LIMIT_NS,
    Answer,
    Appended,
    Connected,
    Delivered,
    Disconnected,
    Event,
    Failed,
    Looked,
    Message,
    Read,
    Refused,
    Replied,
    StreamState,
)
from lib.cluster.streams import number_in, subject_of
from lib.net.event_loop import EventLoop

MAX_EVENTS: Final = 4096
"""The most events that wait for the event loop. Further deliveries are dropped, and read later."""
MAX_QUESTIONS: Final = 256
"""The most questions that wait for an answer; further ones fail at once."""
GIVEN_UP_NS: Final = ANSWER_LIMIT_NS + SECOND_NS // 2
"""How long the event loop waits for an answer: longer than the library."""
CONNECT_TIMEOUT_S: Final = 2
RECONNECT_WAIT_S: Final = 1
PING_INTERVAL_S: Final = 2
"""A connection on which two pings stay unanswered is replaced."""

_WRONG_LAST_SEQUENCE: Final = 10071
_NO_MESSAGE: Final = 10037
_SEQUENCE: Final = "Nats-Sequence"
_EXPECTED_LAST: Final = "Nats-Expected-Last-Sequence"


class _Client(Client):
    """The client of the library, which goes on behind a message that it cannot read.

    A host may send any bytes to subjects of its own. At a subject or a status that is no UTF-8 the
    library alone would stop reading, for as long as it takes it to miss an answer to its pings.
    """

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except (UnicodeDecodeError, IndexError) as error:
            await self._error_cb(ValueError(f"a message that cannot be read: {error}"))


class NatsBroker:
    """The brokers, for one daemon. A `Timed` of its event loop; used from its thread only."""

    def __init__(
        self, loop: EventLoop, options: Mapping[str, Any], on_event: Callable[[Event], None]
    ) -> None:
        """`options` are those of nats-py's `connect`: servers, name, user and so on."""
        self._loop = loop
        self._on_event = on_event
        self._options = options
        self._last_question = 0
        self._asked_ns: dict[int, int] = {}
        """When the questions without an answer were asked, in that order."""
        self._events: deque[Event] = deque()
        self._wake_up = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        loop.register(self._wake_up, selectors.EVENT_READ, self._hand_on)
        loop.add_timed(self)
        self._asyncio = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._client = _Client()
        self._subscriptions: dict[str, Subscription] = {}
        self._closed = asyncio.Event()
        """Whether the library has closed the connection, for good."""
        self._thread = threading.Thread(target=self._run, name="nats", daemon=True)
        self._thread.start()

    # What a daemon asks; each returns at once.

    def append(
        self, stream: str, headers: Mapping[str, str], data: bytes, expected_last: int
    ) -> int:
        """Append a message, if `expected_last` is the stream's last sequence."""
        headers = {**headers, _EXPECTED_LAST: str(expected_last)}
        return self._ask(lambda question: self._append(question, stream, headers, data))

    def look(self, stream: str) -> int:
        """Ask for the state of a stream."""
        return self._ask(lambda question: self._look(question, stream))

    def read(self, stream: str, first: int, most: int) -> int:
        """Read at most `most` messages from `first` on, or from the first that is kept."""
        return self._ask(lambda question: self._read(question, stream, first, most))

    def request(self, subject: str, content: Mapping[str, Any]) -> int:
        """Ask a service of the brokers for JSON."""
        data = json.dumps(content).encode() if content else b""
        return self._ask(lambda question: self._request(question, subject, data))

    def publish(self, subject: str, headers: Mapping[str, str], data: bytes) -> None:
        """Send a plain message. It may be lost."""
        self._begin(lambda: self._publish(subject, dict(headers), data))

    def follow(self, subject: str) -> None:
        """Have what is sent to a subject delivered from now on, by a new subscription."""
        self._begin(lambda: self._follow(subject))

    def close(self) -> None:
        """Close the connection, and end the thread."""
        self._asyncio.call_soon_threadsafe(self._asyncio.stop)
        self._thread.join(timeout=1)
        self._loop.unregister(self._wake_up)
        if not self._thread.is_alive():  # it would write into a file that has its number by then
            os.close(self._wake_up)

    def next_deadline_ns(self) -> int | None:
        """When the oldest question is given up."""
        oldest_ns = next(iter(self._asked_ns.values()), None)
        return None if oldest_ns is None else oldest_ns + GIVEN_UP_NS

    def on_time(self, now_ns: int) -> None:
        """Give up the questions whose answers are overdue."""
        for question, asked_ns in list(self._asked_ns.items()):
            if asked_ns + GIVEN_UP_NS > now_ns:
                break
            self._give(Failed(question, "no answer"))

    def _ask(self, start: Callable[[int], Coroutine[Any, Any, Answer]]) -> int:
        self._last_question = question = self._last_question + 1
        self._asked_ns[question] = self._loop.clock()
        if len(self._asked_ns) > MAX_QUESTIONS:
            self._put(Failed(question, "too many questions wait for an answer"))
        else:
            self._begin(lambda: self._answer(question, start))
        return question

    def _hand_on(self, _ready: int) -> None:
        os.eventfd_read(self._wake_up)
        while self._events:
            self._give(self._events.popleft())

    def _give(self, event: Event) -> None:
        if isinstance(event, Answer):
            asked_ns = self._asked_ns.pop(event.question, None)
            if asked_ns is None:
                return  # it was given up
            if isinstance(event, Appended):
                event = event._replace(took_ns=self._loop.clock() - asked_ns)
        self._on_event(event)

    # The thread.

    def _run(self) -> None:
        asyncio.set_event_loop(self._asyncio)
        connecting = self._asyncio.create_task(self._connect())
        self._asyncio.run_forever()
        with contextlib.suppress(Exception):
            leaving = self._leave({connecting, *self._tasks})
            self._asyncio.run_until_complete(asyncio.wait_for(leaving, 0.5))

    async def _leave(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._client.close()

    async def _connect(self) -> None:
        """Connect, for as long as it takes, and anew whenever the library has given up.

        After a loss it connects again by itself, but it closes for good after most errors of a
        broker, such as an account that has changed, or too many connections.
        """
        while True:
            self._closed.clear()
            self._client = client = _Client()
            try:
                await client.connect(
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    reconnect_time_wait=RECONNECT_WAIT_S,
                    ping_interval=PING_INTERVAL_S,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_connected,
                    closed_cb=self._on_closed,
                    **self._options,
                )
            except Exception as error:  # whatever the library raises
                self._put(Disconnected(str(error) or type(error).__name__))
                with contextlib.suppress(Exception):
                    await client.close()
            else:
                await self._on_connected()
                await self._closed.wait()
                self._subscriptions.clear()
            await asyncio.sleep(RECONNECT_WAIT_S)

    async def _on_connected(self) -> None:
        url = self._client.connected_url
        self._put(Connected(f"{url.hostname}:{url.port}" if url else ""))

    async def _on_disconnected(self) -> None:
        error = self._client.last_error  # if it is closed for good
        self._put(Disconnected(str(error or "the connection was lost")))

    async def _on_closed(self) -> None:
        self._closed.set()

    async def _on_error(self, error: Exception) -> None:
        self._put(Disconnected(str(error) or type(error).__name__))

    def _put(self, event: Event) -> None:
        # Answers are bounded by the questions, but the library reports all that it has to drop.
        if isinstance(event, Delivered | Disconnected) and len(self._events) >= MAX_EVENTS:
            return
        self._events.append(event)
        with contextlib.suppress(OSError):  # closed meanwhile
            os.eventfd_write(self._wake_up, 1)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        def start() -> None:
            task = self._asyncio.create_task(work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._asyncio.call_soon_threadsafe(start)

    async def _answer(
        self, question: int, start: Callable[[int], Coroutine[Any, Any, Answer]]
    ) -> None:
        try:
            async with asyncio.timeout(ANSWER_LIMIT_NS / SECOND_NS):
                answer = await start(question)
        except Exception as error:  # whatever the library raises, or makes of what it has read
            answer = Failed(question, str(error) or type(error).__name__)
        self._put(answer)

    async def _reply(
        self, subject: str, data: bytes, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        reply = await self._client.request(
            subject, data, timeout=ANSWER_LIMIT_NS / SECOND_NS, headers=headers
        )
        content = json.loads(reply.data)
        if not isinstance(content, dict):
            raise ValueError("an answer that is no object")
        return content

    async def _append(
        self, question: int, stream: str, headers: dict[str, str], data: bytes
    ) -> Answer:
        reply = await self._reply(subject_of(stream), data, headers)
        if error := reply.get("error"):
            if error.get("err_code") == _WRONG_LAST_SEQUENCE:
                return Refused(question)
            return Failed(question, str(error.get("description")))
        return Appended(question, int(reply["seq"]))

    async def _look(self, question: int, stream: str) -> Answer:
        reply = await self._reply(f"$JS.API.STREAM.INFO.{stream}", b"")
        if error := reply.get("error"):
            return Failed(question, str(error.get("description")))
        state = reply["state"]
        has_leader = bool(reply.get("cluster", {}).get("leader"))
        return Looked(
            question, StreamState(int(state["first_seq"]), int(state["last_seq"]), has_leader)
        )

    async def _read(self, question: int, stream: str, first: int, most: int) -> Answer:
        """The first message says whether it is there or a later one; then those behind it."""
        found = await self._message(stream, {"seq": first, "next_by_subj": subject_of(stream)})
        if found is None:
            return Read(question, [])
        sequences = range(found.sequence + 1, first + most)
        others = await asyncio.gather(*(self._message(stream, {"seq": one}) for one in sequences))
        messages = [found]
        for message in others:
            if message is None:
                break
            messages.append(message)
        return Read(question, messages)

    async def _message(self, stream: str, wanted: Mapping[str, Any]) -> Message | None:
        reply = await self._reply(f"$JS.API.STREAM.MSG.GET.{stream}", json.dumps(wanted).encode())
        if error := reply.get("error"):
            if error.get("err_code") == _NO_MESSAGE:
                return None
            raise ValueError(str(error.get("description")))
        message = reply["message"]
        return Message(
            int(message["seq"]),
            _headers(base64.b64decode(message.get("hdrs", ""))),
            base64.b64decode(message.get("data", "")),
        )

    async def _request(self, question: int, subject: str, data: bytes) -> Answer:
        return Replied(question, await self._reply(subject, data))

    async def _publish(self, subject: str, headers: dict[str, str], data: bytes) -> None:
        if not self._client.is_connected:  # the library would send it when it is long out of date
            return
        with contextlib.suppress(nats.errors.Error):
            await self._client.publish(subject, data, headers=headers)

    async def _follow(self, subject: str) -> None:
        # The library would keep what is asked for meanwhile, and make all the subscriptions then.
        if not self._client.is_connected:
            return
        with contextlib.suppress(nats.errors.Error):
            if former := self._subscriptions.pop(subject, None):
                await former.unsubscribe()
            self._subscriptions[subject] = await self._client.subscribe(
                subject, cb=self._on_message
            )

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers or {}
        sequence = number_in(headers, _SEQUENCE)
        self._put(Delivered(message.subject, Message(sequence, headers, message.data)))


def _headers(block: bytes) -> dict[str, str]:
    """Parse the headers of a stored message, which begin with a line of their version."""
    lines = block.partition(b"\r\n")[2]
    return dict(BytesParser(policy=HTTP).parsebytes(lines).items())
