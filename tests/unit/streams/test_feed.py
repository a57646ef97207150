"""A stream that is kept up, against a server of the test's own on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest
from structlog.testing import capture_logs

import lib.streams.feed
from lib.clock import SECOND_NS
from lib.net.event_loop import EventLoop
from lib.net.reconnect import ReconnectingConnection
from lib.streams.feed import StreamFeed
from lib.streams.stream_client import Frames, Joined, StreamClient, WentPlain
from tests.helpers import DEADLINE_S
from tests.loops import run_until


class Server:
    """Accepts one client at a time and says what the test wants."""

    def __init__(self, loop: EventLoop) -> None:
        self.loop = loop
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.client = socket.socket()
        self.heard = b""

    def accept(self) -> None:
        """Take the next connection and its HELLO."""

        def came() -> bool:
            try:
                self.client.close()
                self.client, _ = self.listener.accept()
            except BlockingIOError:
                return False
            return True

        run_until(self.loop, came, "the feed connects")
        self.client.settimeout(DEADLINE_S)
        run_until(self.loop, self._has_said_hello, "the feed says HELLO")

    def _has_said_hello(self) -> bool:
        self.client.setblocking(False)
        try:
            self.heard = self.client.recv(1000)
        except BlockingIOError:
            return False
        return self.heard.endswith(b"*")


class Owner:
    """Owns a feed and records its callbacks."""

    def __init__(self, *, may_be_plain: bool = False) -> None:
        self.loop = EventLoop()
        self.server = Server(self.loop)
        self.began: list[Joined | WentPlain] = []
        self.frames: list[Frames] = []
        self.client = StreamClient(next_sequence=1, may_be_plain=may_be_plain)
        self.feed = StreamFeed(
            "price",
            self.client,
            partial(ReconnectingConnection, self.loop, *self.server.listener.getsockname()),
            on_begin=self.began.append,
            on_frames=self.frames.extend,
            clock=self.loop.clock,
        )
        self.loop.add_timed(self.feed)

    def run_until_called(self, calls: list, count: int = 1) -> None:
        run_until(self.loop, lambda: len(calls) >= count, "the owner is called")


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> Iterator[Owner]:
    owner = Owner(may_be_plain=getattr(request, "param", False))
    yield owner
    owner.server.listener.close()
    owner.server.client.close()


def test_the_stream_begins_and_its_frames_come(owner):
    owner.server.accept()
    assert owner.server.heard == b"HELLO,1,1*"
    with capture_logs() as logs:
        owner.server.client.send(b"HELLO,1,tape,1*BATCH,1,2,5*A,1*B,2*")
        owner.run_until_called(owner.frames)
    assert owner.began == [Joined("tape", 1, new_tape=True, missed=None)]
    assert owner.frames == [Frames(1, 2, b"A,1*B,2*", 5)]
    assert [(e["event"], e["stream"], e["peer"], e["missed"]) for e in logs] == [
        ("connected", "price", owner.feed.peer, 0)
    ]


def test_after_a_cut_it_comes_back_and_asks_for_what_it_missed(owner):
    owner.server.accept()
    owner.server.client.send(b"HELLO,1,tape,1*BATCH,1,2,5*A,1*B,2*BATCH,3,1,5*A,")
    owner.run_until_called(owner.frames)
    with capture_logs() as logs:
        owner.server.accept()
    assert owner.server.heard == b"HELLO,1,3,tape*"
    assert [e["event"] for e in logs] == ["disconnected"]


def test_ticks_that_the_server_no_longer_has_are_counted_in_the_log(owner):
    owner.server.accept()
    with capture_logs() as logs:
        owner.server.client.send(b"HELLO,1,tape,11*")
        owner.run_until_called(owner.began)
    assert owner.began[0].missed == (1, 10)
    assert logs[0]["missed"] == 10


def test_a_protocol_error_is_logged_and_the_server_called_again(owner):
    owner.server.accept()
    owner.server.client.send(b"HELLO,1,tape,1*")
    owner.run_until_called(owner.began)
    with capture_logs() as logs:
        owner.server.client.send(b"BATCH,1,1,5*B,1*BATCH,7,1,5*A,1*")
        run_until(owner.loop, lambda: len(logs) >= 2, "the error is logged")
    assert [e["event"] for e in logs] == ["protocol_error", "disconnected"]
    assert logs[0]["reason"] == "expected sequence 2, got 7"
    owner.server.accept()
    assert owner.frames == [Frames(1, 1, b"B,1*", 5)]  # what came before the error stands


def test_a_heartbeat_is_heard_and_a_frame_before_the_answer_is_not(owner):
    owner.server.accept()
    owner.server.client.send(b"A,1*")
    for _ in range(3):
        owner.loop.poll(may_sleep=False)
    assert owner.client.heard_ns is None
    owner.server.client.send(b"HELLO,1,tape,1*BATCH,1,0,5*")
    run_until(owner.loop, lambda: owner.client.heard_ns is not None, "the heartbeat is heard")
    assert owner.frames == []


@pytest.mark.parametrize("owner", [True], indirect=True)
def test_a_feed_of_lines_is_logged_and_its_connection_stays_for_now(owner):
    owner.server.accept()
    with capture_logs() as logs:
        owner.server.client.send(b"AAPL,172.53\n")
        deadline_ns = owner.feed.next_deadline_ns()
        run_until(owner.loop, lambda: owner.feed.next_deadline_ns() != deadline_ns, "they come")
        owner.feed.on_time(owner.feed.next_deadline_ns())  # as the loop does in a few seconds
    assert [e["event"] for e in logs] == ["no_delimiter"]
    assert logs[0]["text"] == "AAPL,172.53\\n"
    assert "12 bytes and no `*`: a feed of lines?" in logs[0]["reason"]


@pytest.mark.parametrize("owner", [True], indirect=True)
def test_a_fast_feed_of_lines_is_logged_once_and_called_again_after_a_while(owner, monkeypatch):
    monkeypatch.setattr(lib.streams.feed, "NEXT_CALL_NS", SECOND_NS // 20)
    with capture_logs() as logs:

        def ended() -> bool:
            return bool(logs) and logs[-1]["event"] in ("protocol_error", "disconnected")

        for _ in range(2):
            owner.server.accept()
            owner.server.client.send(b"AAPL,172.53\n" * 10_000)
            run_until(owner.loop, ended, "it ends")
            logs.append({"event": "called again"})
    assert [e["event"] for e in logs] == [
        *("no_delimiter", "protocol_error", "disconnected", "called again"),
        *("protocol_error", "called again"),
    ]


@pytest.mark.parametrize("owner", [True], indirect=True)
def test_a_strange_server_that_answers_and_closes_is_shown_once_and_called_less_often(
    owner, monkeypatch
):
    monkeypatch.setattr(lib.streams.feed, "NEXT_CALL_NS", SECOND_NS // 5)
    began_ns = time.monotonic_ns()
    with capture_logs() as logs:
        for _ in range(3):
            owner.server.accept()
            owner.server.client.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            owner.server.client.shutdown(socket.SHUT_WR)
    assert time.monotonic_ns() - began_ns >= 2 * SECOND_NS // 5
    assert [e["event"] for e in logs] == ["no_delimiter", "disconnected"]
    assert "HTTP?" in logs[0]["reason"]
    owner.server.client.close()
    owner.server.accept()
    owner.server.client.send(b"HELLO,1,tape,1*")
    owner.run_until_called(owner.began)
    with capture_logs() as logs:
        owner.server.accept()  # after a connection that had begun
    assert [e["event"] for e in logs] == ["disconnected"]


def test_silence_ends_the_connection(owner):
    owner.server.accept()
    owner.server.client.send(b"HELLO,1,tape,1*")
    owner.run_until_called(owner.began)
    assert owner.feed.next_deadline_ns() is not None
    with capture_logs() as logs:
        owner.feed.on_time(0)  # as the loop does when the deadline has come
    assert [e["event"] for e in logs] == ["disconnected"]
    assert "2.5 s" in logs[0]["reason"]
    assert owner.feed.next_deadline_ns() is None


@pytest.mark.parametrize("owner", [True], indirect=True)
def test_a_first_connection_that_leads_nowhere_is_made_again(owner):
    owner.server.accept()
    assert owner.feed.next_deadline_ns() is not None
    with capture_logs() as logs:
        owner.feed.on_time(0)  # as the loop does when the deadline has come
    assert "not a single frame" in logs[0]["reason"]
    owner.server.accept()
    owner.server.client.send(b"HELLO,1,tape,1*")
    owner.run_until_called(owner.began)
