"""A role refuses brokers that would lose what they acknowledge, with the cure in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lib.clock import SECOND_NS
from lib.cluster.broker import Disconnected, Failed, Replied
from lib.cluster.broker_check import MAX_NAMESAKES, MAX_UNHEARD, BrokerCheck, client_name
from lib.cluster.streams import PRICE, configuration
from lib.errors import CannotStartError

SYNCS = {"data": {"jetstream": {"config": {"sync_always": True}}}}
SYNCS_LATER = {"data": {"jetstream": {"config": {"sync_interval": 120_000_000_000}}}}
NOT_FOUND = {"error": {"code": 404, "err_code": 10059, "description": "stream not found"}}
CLIENT = client_name("market-1", "uplink")


def stream(replicas: int = 3, **changes: Any) -> dict[str, Any]:
    members = [{"name": name} for name in "bc"[: replicas - 1]]
    found = {**configuration(PRICE, replicas), "max_msg_size": -1, **changes}
    return {"config": found, "cluster": {"leader": "a", "replicas": members}}


def clients(*names: str) -> dict[str, Any]:
    found = [{"name": name, "ip": f"10.0.0.{number}"} for number, name in enumerate(names, 1)]
    return {"data": {"connections": [{"cid": 7}, *found]}}


ALONE = clients(
    CLIENT, *(client_name(*one) for one in (("market-2", "uplink"), ("market-1", "downlink")))
)


def error(number: int) -> dict[str, Any]:
    return {"error": {"code": 500, "err_code": number, "description": f"error {number}"}}


class Services:
    """The brokers' services: they give the replies of the test in turn, a text as a failure."""

    def __init__(self, *replies: Mapping[str, Any] | str, **how: bool) -> None:
        self.asked: list[str] = []
        self._replies = list(replies)
        self.check = BrokerCheck(self, CLIENT, [PRICE], **{"makes": True, "trial": False, **how})

    def request(self, subject: str, content: Mapping[str, Any]) -> int:
        self.asked.append(f"{subject} {content.get('server_name', '')}".strip())
        return len(self.asked)

    def run(self) -> None:
        """Answer until the check is over, or no reply is left."""
        now_ns = 0
        while self._replies and not self.check.is_over:
            self.check.look(now_ns)
            reply, number = self._replies.pop(0), len(self.asked)
            event = Failed(number, reply) if isinstance(reply, str) else Replied(number, reply)
            self.check.take(event, now_ns)
            now_ns += SECOND_NS


def test_brokers_that_sync_always_and_a_stream_with_three_replicas_pass() -> None:
    services = Services(stream(), *[SYNCS, ALONE] * 3)
    services.run()
    assert services.check.is_over
    asked = ("$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.ACCOUNT.PING.CONNZ")
    each = [f"{subject} {name}" for name in "abc" for subject in asked]
    assert services.asked == [f"$JS.API.STREAM.INFO.{PRICE}", *each]


@pytest.mark.parametrize(
    ("replies", "line"),
    [
        (
            [stream(), SYNCS, ALONE, SYNCS_LATER],
            r"broker b does not write .* sync_interval: always",
        ),
        ([stream(1)], r"TW_PRICE has 1 replicas and not 3: nats stream edit"),
        ([stream(max_age=5)], r"TW_PRICE is of another shape: max_age is 5 and not 300000000000"),
        ([NOT_FOUND, error(10074)], r"too few brokers for the 3 replicas of TW_PRICE: start all"),
        ([NOT_FOUND, error(10005)] * (MAX_UNHEARD + 1), r"too few brokers for the 3 replicas"),
        ([NOT_FOUND, error(10065)], r"has the subject tw\.price: two clusters .* an account each"),
        ([error(10039)], r"no JetStream for this user"),
        (["no responders"] * (MAX_UNHEARD + 1), r"no JetStream for this user"),
    ],
)
def test_other_brokers_are_refused(replies: list[Mapping[str, Any] | str], line: str) -> None:
    with pytest.raises(CannotStartError, match=line) as refused:
        Services(*replies).run()
    assert str(refused.value).startswith("cluster.servers: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("reason", ["Authorization Violation", "Permissions Violation for Publish"])
def test_credentials_that_the_brokers_refuse_are_named(reason: str) -> None:
    with pytest.raises(CannotStartError, match=r"^cluster\.credentials: "):
        Services().check.take(Disconnected(f"nats: '{reason}'"), 0)


def test_for_a_trial_one_broker_is_enough() -> None:
    services = Services(
        NOT_FOUND, error(10074), NOT_FOUND, {}, stream(1), SYNCS_LATER, ALONE, trial=True
    )
    services.run()
    assert services.check.is_over


def test_a_stream_of_another_shape_is_refused_in_a_trial_too() -> None:
    with pytest.raises(CannotStartError, match="another shape"):
        Services(stream(1, max_age=5), trial=True).run()


def test_a_broker_that_is_down_does_not_answer_and_is_not_waited_for() -> None:
    services = Services(stream(), SYNCS, ALONE, "no answer", SYNCS, "no answer")
    services.run()
    assert services.check.is_over


def test_while_the_brokers_elect_they_are_asked_again_after_a_pause() -> None:
    services = Services("no answer")
    services.run()
    assert services.check.waits_for == "JetStream does not answer: no answer"
    services.check.look(SECOND_NS - 1)
    assert len(services.asked) == 1
    services.check.look(SECOND_NS)
    assert len(services.asked) == 2


def test_a_host_that_only_reads_waits_for_the_stream() -> None:
    services = Services(NOT_FOUND, makes=False)
    services.run()
    assert services.check.waits_for == "the stream TW_PRICE is not there yet: its writer makes it"


def test_a_writer_makes_the_stream() -> None:
    services = Services(NOT_FOUND, {}, stream(), *[SYNCS, ALONE] * 3)
    services.run()
    assert services.check.is_over
    assert services.asked[1] == f"$JS.API.STREAM.CREATE.{PRICE}"


TAKEN = clients(CLIENT, client_name("market-1", "uplink"))


def test_a_second_host_of_the_same_name_is_refused() -> None:
    services = Services(stream(), SYNCS, ALONE, SYNCS, *[TAKEN] * MAX_NAMESAKES)
    line = r"^cluster\.host: uplink of market-1 is connected already, from 10\.0\.0\.2: each host"
    with pytest.raises(CannotStartError, match=line):
        services.run()


def test_a_connection_that_the_brokers_still_count_is_waited_for() -> None:
    services = Services(stream(), SYNCS, TAKEN)
    services.run()
    assert "connected already, from 10.0.0.2" in services.check.waits_for
    services = Services(stream(), SYNCS, TAKEN, TAKEN, ALONE, *[SYNCS, ALONE] * 2)
    services.run()
    assert services.check.is_over


@pytest.mark.parametrize("reply", [{}, {"error": {"code": 500}}, {"data": {}}])
def test_a_broker_that_does_not_say_who_is_connected_is_passed_over(reply: dict[str, Any]) -> None:
    services = Services(stream(), *[SYNCS, reply] * 3)
    services.run()
    assert services.check.is_over


def test_brokers_that_do_not_know_each_other_yet_are_waited_for() -> None:
    services = Services(*[NOT_FOUND, error(10005)] * 2)
    services.run()
    assert services.check.waits_for == "too few brokers are there for the 3 replicas of TW_PRICE"
    services = Services(*[NOT_FOUND, error(10005)] * 2, stream(), *[SYNCS, ALONE] * 3)
    services.run()
    assert services.check.is_over
