"""Brokers that a test drives: streams with compare and set, and everything that can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from lib.cluster.broker import (
    Answer,
    Appended,
    Failed,
    Looked,
    Message,
    Read,
    Refused,
    StreamState,
)


@dataclass
class Faults:
    """How likely each fault is."""

    lost_request: float = 0.0
    """Nothing happens, and the outcome is unknown."""
    lost_answer: float = 0.0
    """It happens, and the outcome is unknown."""
    late: float = 0.0
    """The outcome is unknown, and it happens later."""
    lost_delivery: float = 0.0


@dataclass
class ModelStream:
    messages: list[Message] = field(default_factory=list)
    first: int = 1
    leader: bool = True

    def append(self, headers: Mapping[str, str], data: bytes, expected_last: int) -> int | None:
        """Return the sequence, None if refused."""
        if expected_last != len(self.messages):
            return None
        self.messages.append(Message(expected_last + 1, dict(headers), data))
        return expected_last + 1

    def state(self) -> StreamState:
        return StreamState(self.first, len(self.messages), self.leader)

    def read(self, first: int, most: int) -> list[Message]:
        first = max(first, self.first)
        return self.messages[first - 1 : first - 1 + most]


class ModelBrokers:
    """The streams, and the clients that follow them."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.random = Random(seed)
        self.faults = faults
        self.streams: dict[str, ModelStream] = {}
        self._late: list[tuple[ModelStream, Mapping[str, str], bytes, int]] = []
        self._questions = 0

    def stream(self, name: str) -> ModelStream:
        return self.streams.setdefault(name, ModelStream())

    def number(self) -> int:
        self._questions += 1
        return self._questions

    def happens(self, likelihood: float) -> bool:
        return self.random.random() < likelihood

    def keep_for_later(
        self, stream: ModelStream, headers: Mapping[str, str], data: bytes, last: int
    ) -> None:
        self._late.append((stream, headers, data, last))

    def step(self) -> None:
        """Let what is late happen, or not yet."""
        for one in list(self._late):
            if self.happens(0.2):
                self._late.remove(one)
                stream, headers, data, last = one
                stream.append(headers, data, last)


class ModelBroker:
    """The brokers as one process sees them. `answers` have come; the test hands them on."""

    def __init__(self, brokers: ModelBrokers) -> None:
        self.brokers = brokers
        self.answers: list[Answer] = []

    def append(
        self, stream: str, headers: Mapping[str, str], data: bytes, expected_last: int
    ) -> int:
        question = self.brokers.number()
        brokers, there = self.brokers, self.brokers.stream(stream)
        if not there.leader or brokers.happens(brokers.faults.lost_request):
            self.answers.append(Failed(question, "no answer"))
        elif brokers.happens(brokers.faults.late):
            brokers.keep_for_later(there, headers, data, expected_last)
            self.answers.append(Failed(question, "no answer"))
        else:
            sequence = there.append(headers, data, expected_last)
            if brokers.happens(brokers.faults.lost_answer):
                self.answers.append(Failed(question, "no answer"))
            elif sequence is None:
                self.answers.append(Refused(question))
            else:
                self.answers.append(Appended(question, sequence))
        return question

    def look(self, stream: str) -> int:
        question = self.brokers.number()
        there = self.brokers.stream(stream)
        if self.brokers.happens(self.brokers.faults.lost_request):
            self.answers.append(Failed(question, "no answer"))
        else:
            self.answers.append(Looked(question, there.state()))
        return question

    def read(self, stream: str, first: int, most: int) -> int:
        question = self.brokers.number()
        there = self.brokers.stream(stream)
        if not there.leader or self.brokers.happens(self.brokers.faults.lost_request):
            self.answers.append(Failed(question, "no answer"))
        else:
            self.answers.append(Read(question, there.read(first, most)))
        return question

    def taken(self) -> list[Answer]:
        """Return some of the answers, in any order, and keep the others."""
        answers, self.answers = self.answers, []
        self.brokers.random.shuffle(answers)
        some = self.brokers.random.randint(0, len(answers))
        self.answers = answers[some:]
        return answers[:some]

    def publish(self, _subject: str, _headers: Mapping[str, str], _data: bytes) -> None:
        pass

    def follow(self, _subject: str) -> None:
        pass
