"""What a role writes of its streams, and what is read of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lib.clock import SECOND_NS
from lib.cluster.acknowledgements import AcknowledgementTimes
from lib.cluster.broker import CLAIMANT, EPOCH, HOST, Delivered, Message
from lib.cluster.progress import Progress
from lib.cluster.status import ClusterStatus
from lib.cluster.status_file import (
    MAX_HOST_CHARACTERS,
    STALE_NS,
    UNKNOWN,
    WRITE_NS,
    Activity,
    Figures,
    StreamStatus,
    read_status,
    status_path,
)
from lib.cluster.stream_follower import SILENCE_NS
from lib.cluster.streams import LAST, LEDGER, NEWS, NEXT, PRICE, live_subject
from lib.net.event_loop import EventLoop
from lib.process.log_events import DOWNLINK, ORDER_MANAGER, UPLINK
from lib.process.state_file import create_state
from lib.settings import ClusterSettings, Settings
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers


class Role:
    """A role of a cluster, by a clock that the test sets."""

    def __init__(self, var_dir: Path, role: str = DOWNLINK, stream: str = PRICE) -> None:
        self.var_dir, self.role, self.stream = var_dir, role, stream
        self.broker = ModelBroker(ModelBrokers(0, Faults()))
        self.now_ns = time.monotonic_ns()
        self.progress = Progress(Activity.FOLLOWING)
        self.loop = EventLoop()
        self.loop.clock = lambda: self.now_ns
        cluster = ClusterSettings(servers=("nats://a",), host="b")
        self.status = ClusterStatus(
            Settings(var_dir=var_dir, cluster=cluster),
            self.loop,
            self.broker,
            role,
            {stream: lambda: self.progress},
        )

    def hear(self, sequence: int = 0, host: str = "a", epoch: int = 1, **headers: str) -> None:
        named = {"next": NEXT, "last": LAST, "claimant": CLAIMANT}
        headers = {named[key]: value for key, value in headers.items()}
        message = Message(sequence, {HOST: host, EPOCH: str(epoch), **headers}, b"")
        self.status.take(Delivered(live_subject(self.stream), message))

    def wait(self, duration_ns: int = WRITE_NS) -> StreamStatus:
        """What is read after this time."""
        self.now_ns += duration_ns
        self.status.on_time(self.now_ns)
        while self.broker.answers:
            self.status.take(self.broker.answers.pop())
        status = self.read()
        assert status
        return status

    def read(self) -> StreamStatus | None:
        return read_status(self.var_dir, self.role, self.stream, self.now_ns)


@pytest.fixture
def role(tmp_path: Path) -> Role:
    return Role(tmp_path)


def test_what_is_not_known_yet_is_unknown(role: Role):
    status = role.wait()
    assert (status.role, status.stream, status.writer) == (DOWNLINK, PRICE, "")
    figures = status.figures._asdict()
    assert figures.pop("written_ns") == role.now_ns
    assert figures.pop("activity") == Activity.FOLLOWING
    assert set(figures.values()) == {UNKNOWN}


def test_writer_epoch_and_end_are_those_of_the_newest_message_or_word(role: Role):
    role.hear(sequence=7, epoch=3, next="101")
    heard_ns = role.now_ns
    role.progress = Progress(Activity.FOLLOWING, position=100)
    status = role.wait()
    assert status.writer == "a"
    assert status.figures[2:9] == (3, 0, 7, 100, 0, 0, heard_ns)
    role.hear(last="9", epoch=4, host="c", next="131")
    status = role.wait()
    assert status.writer == "c"
    assert status.figures[2:8] == (4, 1, 9, 100, 30, WRITE_NS)


def test_a_first_claim_says_that_there_is_no_tick_yet(role: Role):
    role.hear(sequence=1, claimant="x")
    role.progress = Progress(Activity.FOLLOWING, position=0)
    assert role.wait().figures.lag == 0


def test_a_ledger_counts_the_messages_of_its_stream(tmp_path: Path):
    role = Role(tmp_path, ORDER_MANAGER, LEDGER)
    role.hear(sequence=12)
    role.progress = Progress(Activity.STANDING_BY, position=10)
    assert role.wait().figures.lag == 2


def test_a_role_may_know_more_than_the_writer_has_said(role: Role):
    role.hear(sequence=7, next="101")
    role.progress = Progress(Activity.WRITING, position=90, newest=150)
    assert role.wait().figures.lag == 60


def test_the_word_of_a_writer_that_was_overtaken_is_not_believed(role: Role):
    role.hear(sequence=7, epoch=2, host="b")
    role.hear(sequence=6, epoch=1, host="a")
    assert role.wait().writer == "b"
    role.now_ns += SILENCE_NS
    role.hear(sequence=1, epoch=1, host="c")  # the brokers have lost all they had
    assert role.wait().writer == "c"


def test_acknowledgements_are_shown_by_their_quantiles(role: Role):
    times = AcknowledgementTimes()
    role.progress = Progress(Activity.WRITING, acknowledgements=times)
    assert role.wait().figures[-2:] == (UNKNOWN, UNKNOWN)
    for took_ns in range(1, 101):
        times.add(took_ns)
    assert role.wait().figures[-2:] == (50, 99)


def test_a_lost_majority_is_what_a_role_does(role: Role):
    role.broker.brokers.stream(PRICE).leader = False
    for _ in range(40):
        status = role.wait(SECOND_NS)
    assert status.figures.activity == Activity.NO_MAJORITY


def test_takeovers_are_counted_over_the_processes_of_a_run(role: Role):
    for epoch in (3, 3, 4, 7000):  # how high one is says nothing
        role.hear(sequence=7, epoch=epoch)
    assert role.wait().figures[2:4] == (7000, 2)
    successor = Role(role.var_dir)
    assert successor.wait().figures[2:4] == (7000, 2)
    successor.hear(sequence=9, epoch=7000)
    successor.hear(sequence=9, epoch=7001)
    assert successor.wait().figures[2:4] == (7001, 3)


def test_a_file_of_another_run_is_not_continued(role: Role, monkeypatch: pytest.MonkeyPatch):
    role.hear(sequence=7, epoch=3)
    role.wait()
    monkeypatch.setattr("lib.cluster.status.current_run", lambda: (1, 2))
    successor = Role(role.var_dir)
    successor.hear(sequence=9, epoch=5)
    assert successor.wait().figures[2:4] == (5, 0)


def test_a_file_that_is_removed_is_written_again(role: Role):
    role.wait()
    status_path(role.var_dir, DOWNLINK, PRICE).unlink()
    assert role.read() is None
    role.wait()


def test_a_file_that_cannot_be_written_does_not_end_the_role(role: Role):
    path = status_path(role.var_dir, DOWNLINK, PRICE)
    path.mkdir()
    role.status.on_time(role.now_ns)
    assert role.read() is None
    path.rmdir()
    role.wait()


def test_a_message_that_is_none_of_ours_does_not_end_the_role(role: Role):
    for _ in range(2):  # into a new file, and into one that is there
        role.hear(last=str(2**70), epoch=2**70, host="\N{ROCKET}" * 1000, next=str(2**70))
        status = role.wait()
    assert status.writer == "\N{ROCKET}" * MAX_HOST_CHARACTERS
    assert status.figures.epoch == status.figures.last == 0


def test_of_a_role_that_is_not_at_work_nothing_is_read(role: Role):
    role.wait()
    role.now_ns += STALE_NS
    assert role.read() is None
    role.now_ns -= 2 * STALE_NS  # the machine has started again meanwhile
    assert role.read() is None


@pytest.mark.parametrize("content", [b"", b"x" * 2000, b"{}".ljust(1024) + b"\xff" * 88])
def test_a_damaged_file_is_not_read(role: Role, content: bytes):
    role.wait()
    status_path(role.var_dir, DOWNLINK, PRICE).write_bytes(content)
    assert role.read() is None


def test_a_role_that_is_ahead_of_what_it_has_heard_has_no_lag(role: Role):
    role.hear(sequence=7, next="101")
    role.progress = Progress(Activity.FOLLOWING, position=150)
    figures = role.wait().figures
    assert (figures.position, figures.lag, figures.lag_ns) == (150, 0, 0)


def test_a_writer_is_alone_only_after_the_silence_of_the_other(role: Role):
    role.hear(sequence=7, epoch=2, host="b")
    role.now_ns += SILENCE_NS
    role.hear(sequence=1, epoch=1, host="c")
    assert role.wait().writer == "b"


def test_the_writer_was_heard_at_its_last_word(role: Role):
    role.hear(sequence=7)
    role.now_ns += SECOND_NS
    role.hear(last="7")
    heard_ns = role.now_ns
    assert role.wait().figures.heard_ns == heard_ns


def test_the_status_is_written_when_it_is_due_and_not_before(role: Role):
    assert role.status.next_deadline_ns() == role.now_ns
    written_ns = role.wait(0).figures.written_ns
    assert role.status.next_deadline_ns() == written_ns + WRITE_NS
    assert role.wait(WRITE_NS - 1).figures.written_ns == written_ns
    assert role.wait(1).figures.written_ns == written_ns + WRITE_NS


def test_each_stream_of_a_role_has_a_status_of_its_own(tmp_path: Path):
    role = Role(tmp_path)
    progress = {
        PRICE: lambda: Progress(Activity.WRITING, position=5),
        NEWS: lambda: Progress(Activity.STANDING_BY),
    }
    settings = Settings(var_dir=tmp_path, cluster=ClusterSettings(servers=("nats://a",), host="b"))
    status = ClusterStatus(settings, role.loop, role.broker, UPLINK, progress)
    for stream, host in ((PRICE, "a"), (NEWS, "c")):
        message = Message(1, {HOST: host, EPOCH: "1"}, b"")
        status.take(Delivered(live_subject(stream), message))
    status.on_time(role.now_ns)
    read = [read_status(tmp_path, UPLINK, stream, role.now_ns) for stream in progress]
    assert [one and (one.writer, one.figures.activity) for one in read] == [
        ("a", Activity.WRITING),
        ("c", Activity.STANDING_BY),
    ]


@pytest.mark.parametrize(("writer", "activity"), [(7, 0), (None, 0), ("a", 99), ("a", UNKNOWN)])
def test_what_no_role_writes_is_not_read(role: Role, writer: object, activity: int):
    words = [role.now_ns, activity] + [0] * (len(Figures._fields) - 2)
    path = status_path(role.var_dir, DOWNLINK, PRICE)
    create_state(path, {"run": [], "writer": "a"}, [role.now_ns, 0, *words[2:]])
    assert role.read()
    create_state(path, {"run": [], "writer": writer}, words)
    assert role.read() is None
