from typing import Any

from structlog.testing import capture_logs

from lib.clock import SECOND_NS
from lib.cluster.majority_watch import ASK_NS, NO_LEADER_NS, MajorityWatch
from tests.cluster_broker import Faults, ModelBroker, ModelBrokers

STREAM = "TW_TEST"


class Watcher:
    def __init__(self) -> None:
        self.broker = ModelBroker(ModelBrokers(0, Faults()))
        self.stream = self.broker.brokers.stream(STREAM)
        self.watch = MajorityWatch(self.broker, STREAM, 0)
        self.now_ns = 0
        self.questions = 0

    def wait(self, duration_s: float) -> list[tuple[Any, ...]]:
        """What it logs meanwhile."""
        with capture_logs() as logs:
            for _ in range(round(duration_s * SECOND_NS / ASK_NS * 2)):
                self.now_ns += ASK_NS // 2
                self.watch.look(self.now_ns)
                while self.broker.answers:
                    self.questions += 1
                    self.watch.take(self.broker.answers.pop(), self.now_ns)
        return [tuple(log.values()) for log in logs]


def test_it_asks_once_a_second_and_logs_nothing_while_there_is_a_leader():
    watcher = Watcher()
    assert watcher.wait(60) == []
    assert watcher.questions == 60 * SECOND_NS // ASK_NS


def test_an_election_is_no_lost_majority():
    watcher = Watcher()
    watcher.stream.leader = False
    assert watcher.wait(10) == []
    watcher.stream.leader = True
    assert watcher.wait(1.5) == []
    watcher.stream.leader = False
    assert watcher.wait(10) == []
    assert not watcher.watch.is_lost


def test_a_lost_majority_and_its_return_are_logged_once():
    watcher = Watcher()
    watcher.stream.leader = False
    [lost] = watcher.wait(40)
    assert watcher.watch.is_lost
    assert lost == (STREAM, NO_LEADER_NS / SECOND_NS, "no_majority", "error")
    watcher.stream.leader = True
    [back] = watcher.wait(5)
    assert not watcher.watch.is_lost
    assert (back[0], back[2]) == (STREAM, "majority_back")
    assert 39 <= back[1] <= 42


def test_brokers_that_do_not_answer_are_no_majority():
    watcher = Watcher()
    watcher.broker.brokers.faults.lost_request = 1.0
    assert len(watcher.wait(20)) == 1


def test_a_role_that_was_paused_does_not_take_its_own_silence_for_that_of_the_brokers():
    watcher = Watcher()
    watcher.wait(2)
    watcher.now_ns += 10 * NO_LEADER_NS
    watcher.stream.leader = False
    assert watcher.wait(3) == []
    watcher.stream.leader = True
    assert watcher.wait(3) == []


def test_the_answer_to_a_question_of_another_is_left_alone():
    watcher = Watcher()
    watcher.watch.look(0)
    [own] = watcher.broker.answers
    for _ in range(3):
        watcher.watch.take(own._replace(question=own.question + 1), 0)
    watcher.watch.look(10 * ASK_NS)
    assert watcher.broker.answers == [own]  # it still waits for its own
