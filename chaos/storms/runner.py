"""Runs the plan of a storm on a stack that trades, and undoes every fault.

One thread, one loop: it injects the faults that are due, drives those that need it (garbage
clients), and ends those whose time is over. Kills, and freezes that the watchdog ends, are over
when supervisord has started the role again. The logs say which role may be hit
(`chaos.storms.planned_faults.RoleInstances`): a question to supervisord would wake it and speed up
its recovery. The runner opens a handle on a process as soon as its pid is logged and sends signals
through that handle only, because the kernel may reuse the pid.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final

from chaos.faults.connection_faults import Clear
from chaos.faults.proxy import Proxy
from chaos.faults.role_faults import UNWATCHED_S
from chaos.faults.stalled_client import StalledClient
from chaos.lab.experiment import RoundContext
from chaos.lab.figures import WATCHDOG
from chaos.lab.target import TargetError
from chaos.storms.planned_faults import (
    CUT_KINDS,
    PROXY_KINDS,
    FaultKind,
    PlannedFault,
    RoleInstances,
    may_hit,
)
from lib.clock import SECOND_NS
from lib.process.process_handle import ProcessHandle

LOOK_S: Final = 0.01
NOISE_INTERVAL_S: Final = 0.1
"""Between two pieces of garbage."""
NOISE_BYTES: Final = 400
GARBAGE: Final = (
    b"*" * 50,
    b"HELLO,1,*",
    b"HELLO,1,1*HELLO,1,1*",
    b"BATCH,1,2,3*AAPL,1*",
    b'{"type":"order","order_id":"x"}*',
    b'{"type":"logon"*',
    b"x" * NOISE_BYTES,
)
UNREAD_HELLO: Final = {
    "price": b"HELLO,1,1*",
    "news": b"HELLO,1,0*",
    "orders": b"no order*" * 1000,  # each of them is answered
}
"""What a client that stops reading says first, so that there is much to read."""


class GarbageClient:
    """A client that sends garbage, and connects again when the server has had enough of it."""

    def __init__(self, address: tuple[str, int], random: Random) -> None:
        self._address = address
        self._random = random
        self._sock: socket.socket | None = None
        self._next_s = 0.0

    def step(self) -> None:
        """Send a piece if it is time to. Never waits."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + NOISE_INTERVAL_S
        if self._sock is None:
            self._sock = socket.socket()
            self._sock.setblocking(False)
            self._sock.connect_ex(self._address)  # what became of it is told by sending
        try:
            self._sock.send(self._piece())
            self._sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _piece(self) -> bytes:
        """Well-known nonsense, or any bytes: none of it is an order that could be booked."""
        return self._random.choice([*GARBAGE, self._random.randbytes(NOISE_BYTES)])

    def close(self) -> None:
        """Go away. May be called again."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class HeldProcess:
    """One process, which is held so that nobody else can be meant by it."""

    def __init__(self, pid: int) -> None:
        """Take it while its number is fresh. There may be no such process any more."""
        self.pid = pid
        self._handle: ProcessHandle | None = None
        with suppress(ProcessLookupError):
            self._handle = ProcessHandle(pid)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._handle is not None and not self._handle.has_ended()

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False if the process has ended."""
        return self._handle is not None and _send(self._handle.pidfd, number)

    def stop(self, undo: list[Callable[[], object]]) -> bool:
        """Stop it in its tracks; False if it has ended. What continues it goes to `undo` first."""
        if self._handle is None:
            return False
        stopped = FrozenProcess(self._handle.pidfd)
        undo.append(stopped.go_on)
        return self.send(signal.SIGSTOP)

    def close(self) -> None:
        """Let it go. May be called again."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            handle.close()


class FrozenProcess:
    """A process that is to be continued, whoever has been started in its place since."""

    def __init__(self, pidfd: int | None) -> None:
        self._pidfd = None if pidfd is None else os.dup(pidfd)

    def go_on(self) -> None:
        """Continue it. May be called again, and also after an interruption of itself."""
        if self._pidfd is not None:
            _send(self._pidfd, signal.SIGCONT)
            pidfd, self._pidfd = self._pidfd, None
            os.close(pidfd)


def _send(pidfd: int | None, number: signal.Signals) -> bool:
    if pidfd is None:
        raise TargetError("this system cannot hold a process (pidfd_open): none can be hit safely")
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


@dataclass
class InjectedFault:
    """A gust that was done. Times are monotonic."""

    gust: PlannedFault
    victim: str
    begin_ns: int
    end_ns: int | None = None
    """None: it was not over when the stack should have been steady again."""


@dataclass
class ActiveFault:
    """A gust that is not over."""

    hit: InjectedFault
    until_s: float
    """When the lab ends it (monotonic); inf: somebody else does, by a new process."""
    roles: tuple[str, ...] = ()
    """Whose processes are hit."""
    proxy: Proxy | None = None
    """Whose connections it acts on, as long as it lasts."""
    noise: GarbageClient | None = None
    undo: list[Callable[[], object]] = field(default_factory=list)
    """What puts back what the lab has to put back; each may be called again."""

    def put_back(self) -> None:
        """Put it back, the last first. May be called again, also after an interruption."""
        while self.undo:
            self.undo[-1]()
            self.undo.pop()

    def is_over(self, lives: RoleInstances) -> bool:
        """Whether its time is over, or all its roles have been started again since it began."""
        if time.monotonic() >= self.until_s:
            return True
        return bool(self.roles) and all(
            (lives.of(role).spawned_ns or 0) > self.hit.begin_ns for role in self.roles
        )


class StormRunner:
    """A storm that is going on. Whoever has let it blow must `undo` it, also after an exception."""

    def __init__(
        self, stage: RoundContext, proxies: Mapping[str, Proxy], lives: RoleInstances
    ) -> None:
        """`proxies` by stream, where there are any. `lives` are those of the roles up to now."""
        settings = stage.target.settings
        self._stage = stage
        self._proxies = proxies
        self._lives = lives
        self._addresses = {
            "price": (settings.gateway.host, settings.gateway.price_port),
            "news": (settings.gateway.host, settings.gateway.news_port),
            "orders": (settings.order_manager.host, settings.order_manager.port),
        }
        self._holds: dict[str, HeldProcess] = {}
        self._take_hold()
        self._seen_events = len(stage.recorder.recording.events)
        self._under_way: list[ActiveFault] = []
        self.hits: list[InjectedFault] = []
        """In the order of their beginning."""
        self.skipped: list[PlannedFault] = []
        """Gusts that could not be done when they were due."""
        self.last_ns = time.monotonic_ns()
        """When a gust last began, or was ended by the lab."""

    def blow(self, planned: Sequence[PlannedFault]) -> None:
        """Do all gusts, each at its time from now, and end those that the lab has to end."""
        begin_s = time.monotonic()
        for number, gust in enumerate(planned, 1):
            while time.monotonic() < begin_s + gust.at_s:
                self._pass()
            part = (number - 1) / len(planned)
            self._stage.tell(f"gust {number} of {len(planned)}: {gust.kind}", part)
            self._begin(gust)
        while any(math.isfinite(u.until_s) for u in self._under_way):
            self._pass()

    def calm_down(self, limit_ns: int) -> None:
        """Wait until everything is over and all roles are of age, for at most `limit_ns`."""
        self._stage.tell("the storm is over: waiting for the steady state", 1.0)
        deadline_ns = time.monotonic_ns() + limit_ns
        while time.monotonic_ns() < deadline_ns:
            if not self._under_way and self._may_hit(self._lives.roles):
                break
            self._pass()

    def undo(self) -> None:
        """Put back whatever is still broken, and let all processes go. May be called again."""
        with ExitStack() as all_undone:
            for hold in self._holds.values():
                all_undone.callback(hold.close)
            for under_way in self._under_way:
                all_undone.callback(under_way.put_back)
        self._under_way.clear()

    def _pass(self) -> None:
        time.sleep(LOOK_S)
        events = self._stage.recorder.recording.events
        seen, self._seen_events = self._seen_events, len(events)
        self._lives.take(events[seen : self._seen_events])
        self._take_hold()
        for under_way in list(self._under_way):
            if under_way.is_over(self._lives):
                self._end(under_way)
            elif under_way.noise:
                under_way.noise.step()

    def _take_hold(self) -> None:
        """Hold the processes that were told of since the last time."""
        for role in self._lives.roles:
            pid, held = self._lives.of(role).pid, self._holds.get(role)
            if held is None or held.pid != pid:
                self._holds[role] = HeldProcess(pid)
                if held:
                    held.close()

    def _begin(self, gust: PlannedFault) -> None:
        """Hit the first victim that is fit for it now."""
        for victim in gust.victims:
            now_ns = time.monotonic_ns()
            under_way = ActiveFault(
                InjectedFault(gust, victim, now_ns), now_ns / SECOND_NS + gust.lasts_s
            )
            self._under_way.append(under_way)  # first: Ctrl-C may come at any moment
            try:
                self._do(under_way)
            except TargetError:
                under_way.put_back()
                self._under_way.remove(under_way)
            else:
                self.hits.append(under_way.hit)
                self.last_ns = time.monotonic_ns()
                return
        self.skipped.append(gust)

    def _end(self, under_way: ActiveFault) -> None:
        under_way.put_back()
        now_ns = under_way.hit.end_ns = time.monotonic_ns()
        self._under_way.remove(under_way)
        if math.isfinite(under_way.until_s):
            self.last_ns = now_ns

    def _do(self, under_way: ActiveFault) -> None:
        """Raises TargetError if the victim is not fit for it now."""
        kind, victim = under_way.hit.gust.kind, under_way.hit.victim
        if kind in PROXY_KINDS:
            self._harm_connection(under_way)
        elif kind is FaultKind.STALLED:
            client = StalledClient(*self._addresses[victim], UNREAD_HELLO[victim])
            under_way.undo.append(client.close)
        elif kind is FaultKind.NOISE:
            under_way.noise = GarbageClient(
                self._addresses[victim], Random(under_way.hit.gust.seed)
            )
            under_way.undo.append(under_way.noise.close)
        else:
            self._hit_roles(under_way)

    def _harm_connection(self, under_way: ActiveFault) -> None:
        gust, victim = under_way.hit.gust, under_way.hit.victim
        proxy = self._proxies[victim]
        assert gust.fault
        if gust.kind in CUT_KINDS:
            if not proxy.cut(gust.fault):
                raise TargetError(f"{victim} is not connected")
            return
        if any(other.proxy is proxy for other in self._under_way):
            raise TargetError(f"{victim} is under another fault that lasts")
        under_way.proxy = proxy
        under_way.undo.append(lambda: setattr(proxy, "fault", Clear()))
        proxy.fault = gust.fault

    def _hit_roles(self, under_way: ActiveFault) -> None:
        kind, victim = under_way.hit.gust.kind, under_way.hit.victim
        roles = self._lives.roles if kind is FaultKind.EVERYTHING else (victim,)
        if not self._may_hit(roles):
            raise TargetError(f"{victim} is not fit to be hit")
        under_way.roles = roles
        if kind in (FaultKind.FREEZE, FaultKind.PAUSE):
            if kind is FaultKind.FREEZE:
                under_way.until_s = time.monotonic() + self._longest_freeze_s(victim)
            hit = self._holds[victim].stop(under_way.undo)
        else:
            under_way.until_s = math.inf
            number = signal.SIGTERM if kind is FaultKind.TERM else signal.SIGKILL
            # All of them, also when one has just ended by itself: then it is done to the others.
            hit = sum(self._holds[role].send(number) for role in roles) > 0
        if not hit:
            raise TargetError(f"{victim} ended by itself before it was hit")

    def _longest_freeze_s(self, role: str) -> float:
        """From when on the lab has to continue a role: never, where the watchdog looks after it."""
        watched = role != WATCHDOG and self._stage.target.settings.watchdog.hang_after > 0
        return math.inf if watched else UNWATCHED_S

    def _may_hit(self, roles: Sequence[str]) -> bool:
        now_ns = time.monotonic_ns()
        busy = {role for under_way in self._under_way for role in under_way.roles}
        lives = {role: self._lives.of(role) for role in roles}
        return all(
            role not in busy and may_hit(life, now_ns) and self._holds[role].alive
            for role, life in lives.items()
        )
