"""Clients that stop reading, on all three ports: plain and numbered prices, news, orders.

Each stays connected and reads nothing, until the servers have to queue or drop its data. Expected:
no role loses a connection or its process; ticks and answers come as fast as before; gateway and
order manager do not queue everything. A numbered client that resumes reading gets every tick; one
that does not is disconnected. An order client sends malformed messages, so that nothing is booked,
and is disconnected when too many answers are queued for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import count, pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults.stalled_client import StalledClient, waiting_bytes
from chaos.lab.experiment import Experiment, RoundContext, command_line, run_experiment
from chaos.lab.figures import ENDS, ROLE_CONNECTIONS, STRATEGY
from chaos.lab.recorder import Event, StackRecording, TapeListener
from chaos.lab.target import TargetError, TargetStack, wait_for
from lib.clock import MILLISECOND_NS
from lib.process.log_events import (
    ClientDisconnected,
    Disconnected,
    FillReported,
    OrderSent,
    RejectionReported,
)
from lib.process.run_identity import process_stat
from lib.stack.log_follower import SupervisorEvent

WINDOW_S: Final = 3.0
"""How long the stack is measured without the stalled clients, and then with them."""
LOOK_S: Final = 0.1
QUEUE_LOOKS: Final = 5
"""The queues are read at every so many looks: that costs the kernel some 10 ms."""
CLIENTS: Final = 3
"""How many stalled clients there are of each kind."""
NOTICED_NS: Final = 100 * MILLISECOND_NS
"""A longest wait up to this is always accepted."""
NOTICED_RATIO: Final = 3
"""A longer wait is accepted up to this many times the wait without the stalled clients."""
GROWTH_BYTES: Final = {"gateway": 8 << 20, "order_manager": 5 << 20}
"""How much the memory of each server may grow: enough for a replay from the first tick, and for the
answer queues of the order clients. On a young stack the gateway has less than that to queue; there
only the disconnections count."""
READ_ON_S: Final = 10.0
"""How long a client that resumes reading may take to be up to date."""
HANG_UP_S: Final = 24.0
"""How long the kernel may accept data for a numbered client that does not read, and the gateway may
then take to disconnect it."""
ONE_NONSENSE: Final = b'{"type":"_","qty_":1,"px_":1,"sym_":1,"pos_":1}*'.replace(
    b"_", "\U0001f40c".encode() * 28
)
"""A malformed message. The answer quotes it, so few messages give many bytes of answers."""
NONSENSE: Final = ONE_NONSENSE * 200
"""Sent at each look. In a window this gives more answers than a client's queue may hold."""

PLAIN, NUMBERED, NEWS, ORDERS = "plain prices", "numbered prices", "news", "orders"
KINDS: Final = (PLAIN, NUMBERED, NEWS, ORDERS)
MUST_BE_STUCK: Final = (PLAIN, NUMBERED, ORDERS)
"""Kinds whose data must be queued. News are so few that it would take minutes."""
MUST_BE_GIVEN_UP: Final = {NUMBERED: CLIENTS - 1, ORDERS: CLIENTS}
"""How many clients must be disconnected: all except the one that resumes reading."""
SERVERS: Final = ("gateway", "order_manager")


@dataclass(frozen=True)
class Waits:
    """The longest waits in a window, in ns."""

    strategy_ns: int
    """The longest time between two ticks or batches that the strategy evaluated."""
    client_ns: int
    """The longest time between two ticks at the recorder's price client."""
    answer_ns: int
    """The longest time from an order of the strategy to its answer; 0 if it sent none."""


LABELS: Final = {
    "strategy_ns": "between two ticks at the strategy",
    "client_ns": "between two ticks at another client",
    "answer_ns": "from an order to its answer",
}


@dataclass(frozen=True)
class SlowConsumerOutcome:
    """The result of one round."""

    without: Waits
    beside: Waits
    """The longest waits with the stalled clients."""
    waiting_bytes: dict[str, list[int]]
    """By kind, for each client: the most bytes in the server's kernel."""
    hung_up: dict[str, int]
    """By kind: how many clients the server disconnected."""
    grown_bytes: dict[str, int]
    """By server: the largest growth of its resident memory."""
    ticks_read_on: int
    troubles: tuple[str, ...]
    """Problems of the client that resumed reading, or of a role, a line each."""


class SlowConsumer(Experiment):
    """Measures without and with stalled clients; then one resumes, the others are disconnected."""

    name = "slow_consumer"
    hypothesis = (
        "clients that do not read affect no other: no role is disconnected, ticks and answers come "
        "as fast as before, gateway and order manager do not queue everything for them but "
        "disconnect them; a client that resumes reading misses nothing"
    )
    roles = SERVERS

    def __init__(self, times: int) -> None:
        self.title = f"{CLIENTS} clients of each kind that stop reading, {times} times"
        self.rounds = times
        self.found: list[SlowConsumerOutcome] = []

    def run_round(self, context: RoundContext, number: int) -> None:
        """Run one round."""
        context.show_progress("waiting for the steady state")
        pids = {name: p.pid for name, p in context.target.wait_until_steady().items()}
        recording = context.recorder.recording
        seen_events = len(recording.events)
        context.show_progress("measuring without stalled clients")
        begun_ns = time.monotonic_ns()
        time.sleep(WINDOW_S)
        without = longest_waits(recording, begun_ns, time.monotonic_ns())
        before = {server: resident_bytes(pids[server]) for server in SERVERS}
        with ExitStack() as stack:
            context.show_progress("measuring with stalled clients")
            begun_ns = time.monotonic_ns()
            own = StackRecording()
            listener = TapeListener(own)
            clients = stalled_clients(context.target, listener.connected(), stack)
            waiting, most = stay_stuck(clients, pids)
            beside = longest_waits(recording, begun_ns, time.monotonic_ns())
            grown = {server: most[server] - before[server] for server in SERVERS}
            reader = clients[NUMBERED].pop()
            context.show_progress("one client resumes reading")
            up_to = max(recording.tapes[recording.playing])
            read_on(reader, listener, own, up_to)
            troubles = differences(own, recording, up_to)
            reader.close()
            context.show_progress("waiting until the others are disconnected")
            stuck = {client.name for client in clients[NUMBERED]}
            wait_for(lambda: stuck <= hung_up(recording.events[seen_events:]), HANG_UP_S)
        events = recording.events[seen_events:]
        gone = {
            kind: sum(c.name in hung_up(events) for c in them) for kind, them in clients.items()
        }
        troubles += disturbances(events)
        ticks = len(own.tapes.get(recording.playing, ()))
        self.found.append(
            SlowConsumerOutcome(without, beside, waiting, gone, grown, ticks, tuple(troubles))
        )

    def table(self) -> list[str]:
        """List the queued bytes of each kind of client, and the waits of the others."""
        lines = [f"{'bytes queued for a client':<36}{'least':>10}{'most':>10}{'hung up':>12}"]
        for kind in KINDS:
            most = [queued for outcome in self.found for queued in outcome.waiting_bytes[kind]]
            gone = sum(outcome.hung_up[kind] for outcome in self.found)
            lines.append(
                f"{kind:<36}{min(most, default=0):>10}{max(most, default=0):>10}{gone:>12}"
            )
        lines += ["", f"{'longest time (ms)':<36}{'without':>16}{'with them':>16}"]
        for figure, label in LABELS.items():
            without = span([getattr(outcome.without, figure) for outcome in self.found])
            beside = span([getattr(outcome.beside, figure) for outcome in self.found])
            lines.append(f"{label:<36}{without:>16}{beside:>16}")
        return lines

    def reasons(self) -> list[str]:
        """Check that the clients were stuck, and that nothing else was affected."""
        return [
            *(
                f"round {number}: {reason}"
                for number, outcome in enumerate(self.found, 1)
                for reason in unmet_expectations(outcome)
            ),
            *longer_waits(self.found),
        ]

    def figures(self) -> dict[str, Any]:
        """Return all figures of all rounds."""
        return {"rounds": [asdict(outcome) for outcome in self.found]}


Clients = dict[str, list[StalledClient]]
"""Stalled clients by kind."""


def stalled_clients(target: TargetStack, hello: bytes, stack: ExitStack) -> Clients:
    """Connect all stalled clients; `stack` closes them. Raises TargetError.

    `hello` turns a client of the price stream into a numbered one.
    """
    addresses = target.addresses()
    streams = {PLAIN: "price", NUMBERED: "price", NEWS: "news", ORDERS: "orders"}
    return {
        kind: [
            stack.enter_context(StalledClient(*addresses[stream], hello * (kind == NUMBERED)))
            for _ in range(CLIENTS)
        ]
        for kind, stream in streams.items()
    }


def stay_stuck(
    clients: Clients, pids: Mapping[str, int]
) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Wait for a window in which no client reads. Raises TargetError if a server is gone.

    Returns the most bytes queued for each client, and the largest resident memory of each server.
    """
    waiting = {kind: [0] * len(them) for kind, them in clients.items()}
    resident = dict.fromkeys(SERVERS, 0)
    end_s = time.monotonic() + WINDOW_S
    for look in count():
        for client in clients[ORDERS]:
            client.send(NONSENSE)
        time.sleep(LOOK_S)
        resident = {s: max(most, resident_bytes(pids[s])) for s, most in resident.items()}
        if look % QUEUE_LOOKS == 0:
            for kind, most in waiting.items():
                waiting[kind] = list(map(max, most, waiting_bytes(clients[kind])))
        if time.monotonic() >= end_s:
            break
    return waiting, resident


def read_on(client: StalledClient, listener: TapeListener, own: StackRecording, up_to: int) -> None:
    """Read until the client has this tick of the tape, for a bounded time."""
    deadline_s = time.monotonic() + READ_ON_S
    while max(own.tapes.get(own.playing, ()), default=0) < up_to:
        data = client.drain(deadline_s)
        if not data or time.monotonic() > deadline_s:
            break
        listener.receive(data, time.monotonic_ns())


def differences(own: StackRecording, recording: StackRecording, up_to: int) -> list[str]:
    """List how the ticks that one client got differ from those of another one. Pure."""
    got = own.tapes.get(recording.playing, {})
    played = recording.tapes[recording.playing].copy()  # the recorder keeps adding to it
    first = min(got, default=1)  # the gateway may no longer have the first ones
    troubles = list(own.troubles)
    if missing := sum(first <= n <= up_to and n not in got for n in played):
        troubles.append(f"{missing} ticks up to {up_to} were missing")
    if other := sum(n in played and tick != played[n] for n, tick in got.items()):
        troubles.append(f"{other} ticks were not those that were played")
    return [f"the client that resumed reading: {trouble}" for trouble in troubles]


def hung_up(events: Iterable[Event]) -> set[str]:
    """Return the addresses of the clients that a server has disconnected. Pure."""
    return {
        event.what.peer
        for event in events
        if event.source in SERVERS and isinstance(event.what, ClientDisconnected)
    }


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory. Raises TargetError if it is gone."""
    try:
        return process_stat(pid).resident_bytes
    except ProcessLookupError:
        raise TargetError(f"process {pid} has ended, though it was not hit") from None


def longest_waits(recording: StackRecording, begun_ns: int, ended_ns: int) -> Waits:
    """Compute the longest waits of a window from the recording. Pure."""
    heard_ns = list(recording.heard_ns.get(recording.playing, {}).values())
    return Waits(
        longest_gap_ns((e.at_ns for e in recording.evaluated), begun_ns, ended_ns),
        longest_gap_ns(heard_ns, begun_ns, ended_ns),
        longest_answer_ns(recording.events, begun_ns, ended_ns),
    )


def span(times_ns: Sequence[int]) -> str:
    """Return the least and the most of all rounds in ms, for a table. Pure."""
    if not times_ns:
        return "-"
    return f"{min(times_ns) / MILLISECOND_NS:.1f} to {max(times_ns) / MILLISECOND_NS:.1f}"


def longest_gap_ns(times_ns: Iterable[int], begun_ns: int, ended_ns: int) -> int:
    """Return the longest time in a window without any of these sorted times. Pure."""
    inside = (at_ns for at_ns in times_ns if begun_ns < at_ns < ended_ns)
    return max(b - a for a, b in pairwise([begun_ns, *inside, ended_ns]))


def longest_answer_ns(events: Iterable[Event], begun_ns: int, ended_ns: int) -> int:
    """Return the longest wait of an order in the window for its answer, if any yet. Pure."""
    sent: dict[int, int] = {}
    longest_ns = 0
    for at_ns, source, what in events:
        if source != STRATEGY or not begun_ns < at_ns < ended_ns:
            continue
        match what:
            case OrderSent():
                sent[what.order_id] = at_ns
            case FillReported() | RejectionReported():
                longest_ns = max(longest_ns, at_ns - sent.pop(what.order_id, at_ns))
    return max([longest_ns, *(ended_ns - at_ns for at_ns in sent.values())])


def disturbances(events: Iterable[Event]) -> list[str]:
    """List roles that lost a connection or their process, a line each. Pure."""
    connections = {(connection.client, connection.stream) for connection in ROLE_CONNECTIONS}
    troubles = []
    for event in events:
        match event.what:
            case Disconnected(stream=stream) if (event.source, stream) in connections:
                troubles.append(f"{event.source} lost its connection for {stream}")
            case SupervisorEvent(event=name, program=role) if name in ENDS:
                troubles.append(f"{role} ended")
    return troubles


def unmet_expectations(outcome: SlowConsumerOutcome) -> list[str]:
    """List what was not as expected in one round, a line each. Pure."""
    reasons = list(outcome.troubles)
    for kind in MUST_BE_STUCK:
        if not any(outcome.waiting_bytes[kind]):
            reasons.append(f"proves nothing: nothing was ever queued for a client of {kind}")
    for kind, due in MUST_BE_GIVEN_UP.items():
        if (gone := outcome.hung_up[kind]) < due:
            reasons.append(f"{gone} of {due} clients of {kind} were disconnected in time")
    if not outcome.ticks_read_on:
        reasons.append("proves nothing: the client that resumed reading got no tick")
    for server, limit in GROWTH_BYTES.items():
        if (grown := outcome.grown_bytes[server]) > limit:
            reasons.append(f"{server} grew by {grown} bytes, {limit} are allowed")
    return reasons


def longer_waits(outcomes: Sequence[SlowConsumerOutcome]) -> list[str]:
    """List waits that were longer because of the stalled clients, a line each. Pure.

    The clients' effect appears in most rounds, other load on the machine only in some, and also
    without the clients. So the medians of the rounds are compared.
    """
    reasons = []
    for figure, label in LABELS.items() if outcomes else ():
        without = median(getattr(outcome.without, figure) for outcome in outcomes)
        beside = median(getattr(outcome.beside, figure) for outcome in outcomes)
        limit = max(NOTICED_NS, NOTICED_RATIO * without)
        if beside > limit:
            reasons.append(
                f"longest time {label}: {beside / MILLISECOND_NS:.1f} ms is the median with "
                f"stalled clients, {limit / MILLISECOND_NS:.1f} ms is the limit"
            )
    return reasons


if __name__ == "__main__":
    arguments = command_line(SlowConsumer.name, __doc__, times=3).parse_args()
    sys.exit(run_experiment(SlowConsumer(arguments.times), arguments))
