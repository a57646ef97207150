"""Whether the brokers keep what they acknowledge, asked before a role begins its work. Pure.

The questions are a generator, which is given the answers: so they read from top to bottom. What
cannot be answered yet, while brokers elect or start, is asked again.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from lib.clock import SECOND_NS
from lib.cluster.broker import Disconnected, Event, Failed, Replied
from lib.cluster.streams import REPLICAS, configuration, difference, subject_of
from lib.errors import CannotStartError

ASK_AGAIN_NS: Final = SECOND_NS
"""The pause before a question is asked again."""
MAX_UNHEARD: Final = 5
"""How often nobody may listen to JetStream's subjects before there is none, or too few brokers be
there for a stream: while brokers start, it is so."""
MAX_NAMESAKES: Final = 10
"""How often a broker may have another client of this name: one that is gone without a word is
connected for some seconds more (ping_interval in nats.conf)."""

_STREAM_NOT_FOUND: Final = 10059
_NO_JETSTREAM: Final = (10035, 10039, 10076)
"""Not for this account, or not at all."""
_NO_PEERS: Final = 10005
"""Too few brokers for so many replicas; or not yet, while they find each other."""
_NO_PLACE: Final = (_NO_PEERS, 10074)
"""Too few brokers for so many replicas."""
_SUBJECT_TAKEN: Final = 10065
_NOBODY_LISTENS: Final = "no responders"
_REFUSED: Final = "authorization violation"
_FORBIDDEN: Final = "permissions violation"
_BROKER: Final = "$SYS.REQ.SERVER.PING.VARZ"
_CLIENTS: Final = "$SYS.REQ.ACCOUNT.PING.CONNZ"
"""Those of the same account."""

_NO_JETSTREAM_TEXT: Final = (
    "cluster.servers: the brokers have no JetStream for this user: give its account jetstream, or "
    "import the streams there (etc/cluster/nats.conf)"
)


def client_name(host: str, role: str) -> str:
    """Return the name of a connection: the host, its role, and what other processes do not have."""
    return f"{host} {role} {secrets.token_hex(4)}"


class Services(Protocol):
    """The brokers' services."""

    def request(self, subject: str, content: Mapping[str, Any]) -> int:
        """Ask a service for JSON: Replied."""


class _Question(NamedTuple):
    subject: str
    content: Mapping[str, Any]


class _Waits(NamedTuple):
    """The question is to be asked again later, and why."""

    reason: str


_Reply = Mapping[str, Any] | str
"""What a service has answered, or why there is no answer."""
_Asking = Generator[_Question | _Waits, _Reply, _Reply]


class BrokerCheck:
    """The check, for one role. Raises CannotStartError: one line, with what to change.

    Attributes:
        is_over: whether the brokers may be used.
        waits_for: why it is not over yet, "" if no answer has said so.

    """

    def __init__(
        self, services: Services, client: str, streams: Sequence[str], *, makes: bool, trial: bool
    ) -> None:
        """`client` is the name of the connection, by `client_name`.

        `makes` is whether this role makes the streams where they are missing.
        """
        self.is_over = False
        self.waits_for = ""
        self._services = services
        self._asking = _check(client, streams, makes, trial)
        self._next: _Question | None = None
        self._question: int | None = None
        self._ask_ns = 0
        self._go_on(None)

    def look(self, now_ns: int) -> None:
        """Ask what there is to ask. To be called in each pass, once there is a connection."""
        if self._next and self._question is None and now_ns >= self._ask_ns:
            self._question = self._services.request(*self._next)

    def take(self, event: Event, now_ns: int) -> None:
        """Take what has come from the brokers. Raises CannotStartError."""
        if isinstance(event, Disconnected):
            _check_refusal(event.reason)
        elif isinstance(event, Replied | Failed) and event.question == self._question:
            self._question = None
            self._go_on(event.reason if isinstance(event, Failed) else event.content)
            if self.waits_for:
                self._ask_ns = now_ns + ASK_AGAIN_NS

    def _go_on(self, reply: _Reply | None) -> None:
        self.waits_for = ""
        try:
            asked = next(self._asking) if reply is None else self._asking.send(reply)
            if isinstance(asked, _Waits):
                self.waits_for = asked.reason
                asked = next(self._asking)
            assert isinstance(asked, _Question)
            self._next = asked
        except StopIteration:
            self._next = None
            self.is_over = True


def _check_refusal(reason: str) -> None:
    if _REFUSED in reason.lower():
        raise CannotStartError(
            "cluster.credentials: the brokers know no such user, or its password is another"
        )
    if _FORBIDDEN in reason.lower():
        raise CannotStartError(
            f"cluster.credentials: {reason}: this user is that of another kind of host "
            "(etc/cluster/nats.conf)"
        )


def _check(
    client: str, streams: Sequence[str], makes: bool, trial: bool
) -> Generator[_Question | _Waits, _Reply, None]:
    names: set[str] = set()
    for stream in streams:
        found = yield from _stream(stream, makes, trial)
        assert isinstance(found, Mapping)
        _check_shape(stream, found.get("config", {}), trial)
        cluster = found.get("cluster", {})
        names |= {cluster.get("leader"), *(one["name"] for one in cluster.get("replicas") or ())}
    for name in sorted(names - {None, ""}):
        # One that is down does not answer; its successor is asked by the next role that starts.
        reply = yield _Question(_BROKER, {"server_name": name})
        if isinstance(reply, Mapping):
            if not trial:
                _check_sync(name, reply)
            yield from _wait_for_name(client, name)


def _stream(stream: str, makes: bool, trial: bool) -> _Asking:
    """Return what the brokers say of a stream, which is made where it is missing."""
    replicas, lacking = REPLICAS, 0
    while True:
        about = yield from _answer(_Question(f"$JS.API.STREAM.INFO.{stream}", {}))
        if _code(about) != _STREAM_NOT_FOUND:
            return about
        if not makes:
            yield _Waits(f"the stream {stream} is not there yet: its writer makes it")
            continue
        wanted = configuration(stream, replicas)
        made = yield from _answer(_Question(f"$JS.API.STREAM.CREATE.{stream}", wanted))
        if _code(made) == _NO_PEERS and lacking < MAX_UNHEARD:
            lacking += 1
            yield _Waits(f"too few brokers are there for the {REPLICAS} replicas of {stream}")
        elif _code(made) in _NO_PLACE:
            if not trial:
                raise CannotStartError(
                    f"cluster.servers: there are too few brokers for the {REPLICAS} replicas of "
                    f"{stream}: start all of them; cluster.trial = true allows fewer"
                )
            replicas = 1
        elif _code(made) == _SUBJECT_TAKEN:
            raise CannotStartError(
                f"cluster.servers: another stream than {stream} has the subject "
                f"{subject_of(stream)}: two clusters on the same brokers need an account each"
            )


def _answer(question: _Question) -> _Asking:
    """Ask until JetStream answers, with the answer or an error that is one."""
    unheard = 0
    while True:
        reply = yield question
        if isinstance(reply, str):
            unheard = unheard + 1 if _NOBODY_LISTENS in reply else 0
            if unheard > MAX_UNHEARD:
                raise CannotStartError(_NO_JETSTREAM_TEXT)
            yield _Waits(f"JetStream does not answer: {reply}")
            continue
        code = _code(reply)
        if code in _NO_JETSTREAM:
            raise CannotStartError(_NO_JETSTREAM_TEXT)
        if code in (0, _STREAM_NOT_FOUND, _SUBJECT_TAKEN, *_NO_PLACE):
            return reply
        yield _Waits(f"JetStream says: {reply['error'].get('description', code)}")


def _code(reply: _Reply) -> int:
    """Return the number of JetStream's error, 0 if it is none."""
    error = reply.get("error") if isinstance(reply, Mapping) else None
    return int(error.get("err_code", -1)) if error else 0


def _check_shape(stream: str, found: Mapping[str, Any], trial: bool) -> None:
    replicas = found.get("num_replicas", 0)
    if replicas < REPLICAS and not trial:
        raise CannotStartError(
            f"cluster.servers: the stream {stream} has {replicas} replicas and not {REPLICAS}: "
            f"nats stream edit {stream} --replicas {REPLICAS}; cluster.trial = true allows fewer"
        )
    if other := difference(configuration(stream, replicas), found):
        raise CannotStartError(
            f"cluster.servers: the stream {stream} is of another shape: {other}: nats stream edit, "
            "or, if what is in it may be lost, nats stream rm, and it is made anew"
        )


def _check_sync(name: str, reply: Mapping[str, Any]) -> None:
    jetstream = reply.get("data", {}).get("jetstream", {}).get("config", {})
    if jetstream.get("sync_always") is not True:
        raise CannotStartError(
            f"cluster.servers: broker {name} does not write to its disk before it acknowledges: "
            "set sync_interval: always in its jetstream block, and start it again; "
            "cluster.trial = true allows it"
        )


def _wait_for_name(client: str, broker: str) -> Generator[_Question | _Waits, _Reply, None]:
    """Wait until no other client of this host and role is connected to a broker."""
    host, role, _ = client.rsplit(" ", 2)
    for look in range(MAX_NAMESAKES):
        reply = yield _Question(_CLIENTS, {"server_name": broker})
        addresses = _namesakes(client, reply)
        if not addresses:
            return
        if look + 1 < MAX_NAMESAKES:
            yield _Waits(f"{role} of {host} is connected already, from {addresses[0]}")
    raise CannotStartError(
        f"cluster.host: {role} of {host} is connected already, from {addresses[0]}: each host "
        "needs a name of its own, and two clusters on the same brokers need an account each "
        "(etc/cluster/nats.conf)"
    )


def _namesakes(client: str, reply: _Reply) -> list[str]:
    """Return the addresses of the other clients of the same host and role, in a broker's reply."""
    data = reply.get("data", {}) if isinstance(reply, Mapping) else {}
    begin = client.rpartition(" ")[0]
    return [
        str(one.get("ip"))
        for one in data.get("connections") or ()
        if one.get("name") != client and str(one.get("name")).rpartition(" ")[0] == begin
    ]
