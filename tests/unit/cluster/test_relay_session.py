"""A session between two hosts: in order and complete, or over at both ends."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest

from lib.clock import SECOND_NS
from lib.cluster.broker import Message
from lib.cluster.relay_session import (
    END,
    LOST,
    MAX_UNTAKEN_BYTES,
    NUMBER,
    SILENT,
    RelaySession,
    SessionName,
    session_of,
)
from lib.cluster.stream_follower import SILENCE_NS

STEP_NS = SECOND_NS // 20


class End:
    """One end: what it sends waits in `out`, what has come is in `got`."""

    def __init__(self) -> None:
        self.out: list[Message] = []
        self.session = RelaySession(self._publish, 0)
        self.sent = b""
        self.got = b""

    def _publish(self, headers: Mapping[str, str], data: bytes) -> None:
        self.out.append(Message(0, headers, data))

    def send(self, data: bytes, now_ns: int) -> None:
        self.session.send(data, now_ns)
        self.sent += data

    def take(self, message: Message, now_ns: int) -> None:
        if data := self.session.take(message, now_ns):
            self.got += data
            self.session.handed_on(now_ns)


def run(seed: int, lost: float, repeated: float, swapped: float) -> tuple[End, End]:
    """Let two ends talk for five seconds, and then hear of each other for five more."""
    random, ends = Random(seed), (End(), End())
    for step in range(200):
        now_ns = step * STEP_NS
        for end, other in (ends, ends[::-1]):
            if step < 100 and not end.session.ended and end.session.has_room:
                end.send(f"{step},".encode(), now_ns)
            end.session.look(now_ns)
            arriving, end.out = end.out, []
            if random.random() < swapped:
                random.shuffle(arriving)
            for message in arriving:
                for _ in range(2 if random.random() < repeated else 1):
                    if random.random() >= lost:
                        other.take(message, now_ns)
    return ends


@pytest.mark.parametrize("seed", range(100))
def test_what_comes_is_a_beginning_of_what_was_sent_whatever_happens(seed: int) -> None:
    one, other = run(seed, lost=0.02, repeated=0.1, swapped=0.02)
    for sender, receiver in ((one, other), (other, one)):
        assert sender.sent.startswith(receiver.got)
        if receiver.got != sender.sent:
            assert one.session.ended
            assert other.session.ended


@pytest.mark.parametrize("seed", range(20))
def test_repetitions_change_nothing(seed: int) -> None:
    one, other = run(seed, lost=0.0, repeated=0.5, swapped=0.0)
    assert (one.got, other.got) == (other.sent, one.sent)
    assert one.session.ended == other.session.ended == ""


def test_the_loss_of_the_last_message_shows_in_the_next_word() -> None:
    one, other = End(), End()
    one.send(b"lost", 0)
    one.out.clear()
    one.session.look(SECOND_NS)
    other.take(one.out.pop(), SECOND_NS)
    assert other.session.ended == LOST
    one.take(other.out.pop(), SECOND_NS)
    assert one.session.ended == LOST


def test_silence_ends_a_session() -> None:
    end = End()
    end.session.look(SILENCE_NS)
    assert not end.session.ended
    end.session.look(SILENCE_NS + 1)
    assert end.session.ended == SILENT
    assert end.out[-1].headers[END] == SILENT


def test_what_is_sent_and_not_handed_on_is_bounded() -> None:
    one, other = End(), End()
    while one.session.has_room:
        one.send(b"x", 0)
    assert 500 < len(one.out) <= MAX_UNTAKEN_BYTES / 256
    for message in one.out:
        other.session.take(message, 0)
    assert not other.out
    other.session.handed_on(0)  # more than half of the bound: the other end is told at once
    one.take(other.out.pop(), 0)
    assert one.session.has_room


def test_a_message_without_a_number_is_none_of_the_session() -> None:
    end = End()
    for headers in ({}, {NUMBER: "x"}, {NUMBER: "-1"}, {NUMBER: "0"}):
        assert end.session.take(Message(0, headers, b"x"), 0) == b""
    assert not end.session.ended


@pytest.mark.parametrize("client_id", ["strategy", "a.b-c_d", "..."])
def test_a_client_id_is_one_word_of_the_subject(client_id: str) -> None:
    name = SessionName(client_id, "host-1", "1f")
    assert name.orders.count(".") == 4
    assert session_of(name.orders) == name


@pytest.mark.parametrize("subject", ["tw.orders.a.b", "tw.orders.a.b.c.d", "tw.orders..b.c", "x"])
def test_another_subject_is_of_no_session(subject: str) -> None:
    assert session_of(subject) is None
