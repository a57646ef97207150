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
    may_inject,
)
from lib.clock import SECOND_NS
from lib.process.process_handle import ProcessHandle

LOOK_S: Final = 0.01
GARBAGE_INTERVAL_S: Final = 0.1
"""Time between two pieces of garbage."""
GARBAGE_BYTES: Final = 400
GARBAGE: Final = (
    b"*" * 50,
    b"HELLO,1,*",
    b"HELLO,1,1*HELLO,1,1*",
    b"BATCH,1,2,3*AAPL,1*",
    b'{"type":"order","order_id":"x"}*',
    b'{"type":"logon"*',
    b"x" * GARBAGE_BYTES,
)
UNREAD_HELLO: Final = {
    "price": b"HELLO,1,1*",
    "news": b"HELLO,1,0*",
    "orders": b"no order*" * 1000,  # each of them is answered
}
"""What a client that stops reading sends first, so that the server has much to send to it."""


class GarbageClient:
    """A client that sends garbage, and connects again after the server disconnects it."""

    def __init__(self, address: tuple[str, int], random: Random) -> None:
        self._address = address
        self._random = random
        self._sock: socket.socket | None = None
        self._next_s = 0.0

    def step(self) -> None:
        """Send one piece of garbage if it is due. Never blocks."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + GARBAGE_INTERVAL_S
        if self._sock is None:
            self._sock = socket.socket()
            self._sock.setblocking(False)
            self._sock.connect_ex(self._address)  # send() reports whether it worked
        try:
            self._sock.send(self._piece())
            self._sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _piece(self) -> bytes:
        """Return a known malformed message or random bytes; none of it is a valid order."""
        return self._random.choice([*GARBAGE, self._random.randbytes(GARBAGE_BYTES)])

    def close(self) -> None:
        """Close the connection. May be called again."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class HeldProcess:
    """A handle on one process, so that a signal can never reach another one with the same pid."""

    def __init__(self, pid: int) -> None:
        """Open the handle while the pid is fresh. The process may already have ended."""
        self.pid = pid
        self._handle: ProcessHandle | None = None
        with suppress(ProcessLookupError):
            self._handle = ProcessHandle(pid)

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._handle is not None and not self._handle.has_ended()

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False if the process has ended."""
        return self._handle is not None and _send(self._handle.pidfd, number)

    def stop(self, undo: list[Callable[[], object]]) -> bool:
        """Send SIGSTOP; False if the process has ended. The call that resumes it goes to `undo`."""
        if self._handle is None:
            return False
        stopped = FrozenProcess(self._handle.pidfd)
        undo.append(stopped.resume)
        return self.send(signal.SIGSTOP)

    def close(self) -> None:
        """Close the handle. May be called again."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            handle.close()


class FrozenProcess:
    """A process under SIGSTOP. It is resumed even if its role has a new process by then."""

    def __init__(self, pidfd: int | None) -> None:
        self._pidfd = None if pidfd is None else os.dup(pidfd)

    def resume(self) -> None:
        """Send SIGCONT. May be called again, also if a signal interrupted the last call."""
        if self._pidfd is not None:
            _send(self._pidfd, signal.SIGCONT)
            pidfd, self._pidfd = self._pidfd, None
            os.close(pidfd)


def _send(pidfd: int | None, number: signal.Signals) -> bool:
    if pidfd is None:
        raise TargetError("this system has no pidfd_open: no process can be signalled safely")
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


@dataclass
class InjectedFault:
    """A planned fault that was injected. Times are monotonic."""

    planned: PlannedFault
    victim: str
    begin_ns: int
    end_ns: int | None = None
    """None: it was not over when the wait for the steady state ended."""


@dataclass
class ActiveFault:
    """A fault that was injected and is not over."""

    injected: InjectedFault
    until_s: float
    """When the lab ends it (monotonic). inf: it is over when supervisord starts a new process."""
    roles: tuple[str, ...] = ()
    """The roles whose processes are hit."""
    proxy: Proxy | None = None
    """The proxy that carries the fault as long as it lasts."""
    garbage_client: GarbageClient | None = None
    undo: list[Callable[[], object]] = field(default_factory=list)
    """Calls that undo the fault; each may be called again."""

    def put_back(self) -> None:
        """Undo the fault, last step first. May be called again, also after an interruption."""
        while self.undo:
            self.undo[-1]()
            self.undo.pop()

    def is_over(self, instances: RoleInstances) -> bool:
        """Whether its time is over, or all its roles have a new process since it began."""
        if time.monotonic() >= self.until_s:
            return True
        return bool(self.roles) and all(
            (instances.current(role).spawned_ns or 0) > self.injected.begin_ns
            for role in self.roles
        )


class StormRunner:
    """Runs one storm. The caller of `run` must call `undo`, also after an exception."""

    def __init__(
        self, context: RoundContext, proxies: Mapping[str, Proxy], instances: RoleInstances
    ) -> None:
        """`proxies` are by stream, if there are any; `instances` are the current ones."""
        settings = context.target.settings
        self._context = context
        self._proxies = proxies
        self._instances = instances
        self._addresses = {
            "price": (settings.gateway.host, settings.gateway.price_port),
            "news": (settings.gateway.host, settings.gateway.news_port),
            "orders": (settings.order_manager.host, settings.order_manager.port),
        }
        self._held: dict[str, HeldProcess] = {}
        self._hold_new_processes()
        self._seen_events = len(context.recorder.recording.events)
        self._active: list[ActiveFault] = []
        self.injected_faults: list[InjectedFault] = []
        """Injected faults in order of their start."""
        self.skipped: list[PlannedFault] = []
        """Planned faults that no victim could take when they were due."""
        self.last_change_ns = time.monotonic_ns()
        """When the lab last began or ended a fault."""

    def run(self, planned: Sequence[PlannedFault]) -> None:
        """Inject all planned faults at their times from now; end those that the lab has to end."""
        begin_s = time.monotonic()
        for number, planned_fault in enumerate(planned, 1):
            while time.monotonic() < begin_s + planned_fault.at_s:
                self._pass()
            part = (number - 1) / len(planned)
            self._context.show_progress(
                f"fault {number} of {len(planned)}: {planned_fault.kind}", part
            )
            self._begin_fault(planned_fault)
        while any(math.isfinite(u.until_s) for u in self._active):
            self._pass()

    def wait_until_over(self, limit_ns: int) -> None:
        """Wait until all faults are over and no role is young, for at most `limit_ns`."""
        self._context.show_progress("the storm is over: waiting for the steady state", 1.0)
        deadline_ns = time.monotonic_ns() + limit_ns
        while time.monotonic_ns() < deadline_ns:
            if not self._active and self._may_inject(self._instances.roles):
                break
            self._pass()

    def undo(self) -> None:
        """Undo all active faults and close all process handles. May be called again."""
        with ExitStack() as all_undone:
            for process in self._held.values():
                all_undone.callback(process.close)
            for active in self._active:
                all_undone.callback(active.put_back)
        self._active.clear()

    def _pass(self) -> None:
        time.sleep(LOOK_S)
        events = self._context.recorder.recording.events
        seen, self._seen_events = self._seen_events, len(events)
        self._instances.apply_events(events[seen : self._seen_events])
        self._hold_new_processes()
        for active in list(self._active):
            if active.is_over(self._instances):
                self._end_fault(active)
            elif active.garbage_client:
                active.garbage_client.step()

    def _hold_new_processes(self) -> None:
        """Open handles on the processes whose pids were logged since the last pass."""
        for role in self._instances.roles:
            pid, held = self._instances.current(role).pid, self._held.get(role)
            if held is None or held.pid != pid:
                self._held[role] = HeldProcess(pid)
                if held:
                    held.close()

    def _begin_fault(self, planned_fault: PlannedFault) -> None:
        """Inject a fault into the first of its victims that can take it now."""
        for victim in planned_fault.victims:
            now_ns = time.monotonic_ns()
            active = ActiveFault(
                InjectedFault(planned_fault, victim, now_ns),
                now_ns / SECOND_NS + planned_fault.lasts_s,
            )
            self._active.append(active)  # first: Ctrl-C may come at any moment
            try:
                self._inject(active)
            except TargetError:
                active.put_back()
                self._active.remove(active)
            else:
                self.injected_faults.append(active.injected)
                self.last_change_ns = time.monotonic_ns()
                return
        self.skipped.append(planned_fault)

    def _end_fault(self, active: ActiveFault) -> None:
        active.put_back()
        now_ns = active.injected.end_ns = time.monotonic_ns()
        self._active.remove(active)
        if math.isfinite(active.until_s):
            self.last_change_ns = now_ns

    def _inject(self, active: ActiveFault) -> None:
        """Inject the fault. Raises TargetError if the victim cannot take it now."""
        kind, victim = active.injected.planned.kind, active.injected.victim
        if kind in PROXY_KINDS:
            self._inject_into_connection(active)
        elif kind is FaultKind.STALLED:
            client = StalledClient(*self._addresses[victim], UNREAD_HELLO[victim])
            active.undo.append(client.close)
        elif kind is FaultKind.NOISE:
            active.garbage_client = GarbageClient(
                self._addresses[victim], Random(active.injected.planned.seed)
            )
            active.undo.append(active.garbage_client.close)
        else:
            self._inject_into_roles(active)

    def _inject_into_connection(self, active: ActiveFault) -> None:
        planned_fault, victim = active.injected.planned, active.injected.victim
        proxy = self._proxies[victim]
        assert planned_fault.connection_fault
        if planned_fault.kind in CUT_KINDS:
            if not proxy.cut(planned_fault.connection_fault):
                raise TargetError(f"{victim} is not connected")
            return
        if any(other.proxy is proxy for other in self._active):
            raise TargetError(f"{victim} is under another fault that lasts")
        active.proxy = proxy
        active.undo.append(lambda: setattr(proxy, "fault", Clear()))
        proxy.fault = planned_fault.connection_fault

    def _inject_into_roles(self, active: ActiveFault) -> None:
        kind, victim = active.injected.planned.kind, active.injected.victim
        roles = self._instances.roles if kind is FaultKind.EVERYTHING else (victim,)
        if not self._may_inject(roles):
            raise TargetError(f"{victim} is young, down or already under a fault")
        active.roles = roles
        if kind in (FaultKind.FREEZE, FaultKind.PAUSE):
            if kind is FaultKind.FREEZE:
                active.until_s = time.monotonic() + self._longest_freeze_s(victim)
            is_injected = self._held[victim].stop(active.undo)
        else:
            active.until_s = math.inf
            number = signal.SIGTERM if kind is FaultKind.TERM else signal.SIGKILL
            # If one role has just ended by itself, the others are still signalled.
            is_injected = sum(self._held[role].send(number) for role in roles) > 0
        if not is_injected:
            raise TargetError(f"{victim} ended by itself before it was hit")

    def _longest_freeze_s(self, role: str) -> float:
        """How long until the lab resumes a frozen role; inf if the watchdog will kill it."""
        watched = role != WATCHDOG and self._context.target.settings.watchdog.hang_after > 0
        return math.inf if watched else UNWATCHED_S

    def _may_inject(self, roles: Sequence[str]) -> bool:
        now_ns = time.monotonic_ns()
        busy = {role for active in self._active for role in active.roles}
        instances = {role: self._instances.current(role) for role in roles}
        return all(
            role not in busy and may_inject(instance, now_ns) and self._held[role].alive
            for role, instance in instances.items()
        )
