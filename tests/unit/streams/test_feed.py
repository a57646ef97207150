"""A stream that is kept up: what its owner gets of it, what is logged, when it is called again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from lib.streams.feed import StreamFeed
from lib.streams.stream_client import NEXT_CALL_NS, SILENCE_LIMIT_NS, Frames, Joined, StreamClient
from tests.links import Link

LINES = b"AAPL,172.53\n"


class Owner:
    """Owns a feed and records its callbacks."""

    def __init__(self, *, may_be_plain: bool = False) -> None:
        self.now_ns = 10**12
        self.began: list = []
        self.frames: list[Frames] = []
        self.feed = StreamFeed(
            "price",
            StreamClient(next_sequence=1, may_be_plain=may_be_plain),
            self.connect,
            on_begin=self.began.append,
            on_frames=self.frames.extend,
            clock=lambda: self.now_ns,
        )

    def connect(self, **callbacks: Callable[..., None]) -> Link:
        self.link = Link(**callbacks)
        return self.link

    def wait(self) -> None:
        """As the loop does."""
        self.now_ns = self.feed.next_deadline_ns()
        self.feed.on_time(self.now_ns)


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def stranger() -> Owner:
    """A feed whose server may speak anything."""
    return Owner(may_be_plain=True)


def events(logs: list[dict]) -> list[str]:
    return [log["event"] for log in logs]


def test_the_stream_begins_and_its_frames_come(owner):
    owner.link.open()
    assert owner.link.taken() == b"HELLO,1,1*"
    with capture_logs() as logs:
        owner.link.data(b"HELLO,1,tape,1*BATCH,1,2,5*A,1*B,2*")
    assert owner.began == [Joined("tape", 1, new_tape=True, missed=None)]
    assert owner.frames == [Frames(1, 2, b"A,1*B,2*", 5)]
    assert owner.link.proofs == 1
    assert [(log["event"], log["stream"], log["peer"], log["missed"]) for log in logs] == [
        ("connected", "price", "there", 0)
    ]


def test_after_a_cut_it_asks_for_what_it_missed_and_logs_what_is_gone(owner):
    owner.link.open()
    owner.link.data(b"HELLO,1,tape,1*BATCH,1,2,5*A,1*B,2*BATCH,3,1,5*A,")
    owner.link.taken()
    with capture_logs() as logs:
        owner.link.lost("cut")
        owner.link.open()
        assert owner.link.taken() == b"HELLO,1,3,tape*"
        owner.link.data(b"HELLO,1,tape,11*")
    assert events(logs) == ["disconnected", "connected"]
    assert owner.began[1].missed == (3, 10)
    assert logs[1]["missed"] == 8


def test_a_protocol_error_is_logged_and_what_came_before_it_stands(owner):
    owner.link.open()
    with capture_logs() as logs:
        owner.link.data(b"HELLO,1,tape,1*BATCH,1,1,5*B,1*BATCH,7,1,5*A,1*")
    assert events(logs) == ["connected", "protocol_error", "disconnected"]
    assert logs[1]["reason"] == "expected sequence 2, got 7"
    assert len(owner.link.dropped) == 1
    assert owner.frames == [Frames(1, 1, b"B,1*", 5)]


def test_silence_ends_the_connection(owner):
    owner.link.open()
    owner.link.data(b"HELLO,1,tape,1*")
    heard_ns = owner.now_ns
    with capture_logs() as logs:
        owner.wait()
    assert owner.now_ns == heard_ns + SILENCE_LIMIT_NS
    assert events(logs) == ["disconnected"]
    assert "2.5 s" in logs[0]["reason"]
    assert owner.feed.next_deadline_ns() is None


def test_a_feed_of_lines_is_logged_and_its_connection_stays_for_now(stranger):
    stranger.link.open()
    with capture_logs() as logs:
        stranger.link.data(LINES)
        stranger.wait()
    assert events(logs) == ["no_delimiter"]
    assert logs[0]["text"] == "AAPL,172.53\\n"
    assert "12 bytes and no `*`: a feed of lines?" in logs[0]["reason"]
    assert stranger.link.dropped == []


def test_a_fast_feed_of_lines_is_logged_once_and_called_again_after_a_while(stranger):
    logged = []
    for _ in range(2):
        stranger.link.open()
        with capture_logs() as logs:
            for _ in range(6):
                stranger.link.data(LINES * 1000)
        logged.append(events(logs))
    assert logged == [["no_delimiter", "protocol_error", "disconnected"], ["protocol_error"]]
    assert stranger.link.waits_ns == [NEXT_CALL_NS] * 2


def test_a_strange_server_that_answers_and_closes_is_shown_once_and_called_less_often(stranger):
    with capture_logs() as logs:
        for _ in range(3):
            stranger.link.open()
            stranger.link.data(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            stranger.link.lost("closed")
    assert stranger.link.waits_ns == [NEXT_CALL_NS] * 3
    assert events(logs) == ["no_delimiter", "disconnected"]
    assert "HTTP?" in logs[0]["reason"]
    with capture_logs() as logs:  # of a connection that begins
        stranger.link.open()
        stranger.link.data(b"HELLO,1,tape,1*")
        stranger.link.lost("closed")
    assert events(logs) == ["connected", "disconnected"]


def test_while_nothing_is_received_no_silence_counts(owner):
    owner.link.open()
    owner.link.data(b"HELLO,1,tape,1*")
    heard_ns = owner.now_ns
    owner.feed.limit_receiving(0)
    assert owner.feed.next_deadline_ns() is None
    owner.feed.limit_receiving(4096)
    assert owner.feed.next_deadline_ns() == heard_ns + SILENCE_LIMIT_NS
    assert owner.link.receive_limits == [0, 4096]
