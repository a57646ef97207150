"""Runs the plan of a storm on a stack that trades, and undoes every fault.

One thread, one loop. Kills, and freezes that the watchdog ends, are over when supervisord has
started the role again. The logs say which role may be hit: a question to supervisord would wake it
and speed up its recovery.
"""

from __future__ import annotations

import math
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final

from chaos.faults.connection_faults import Clear, ConnectionFault
from chaos.faults.proxy import Proxy
from chaos.faults.role_faults import UNWATCHED_S, FrozenProcess, is_watched
from chaos.faults.stalled_client import StalledClient
from chaos.lab.experiment import RoundContext
from chaos.lab.target import YOUNG_S, TargetError
from chaos.storms.planned_faults import CUT_KINDS, FaultKind, PlannedFault
from lib.clock import SECOND_NS, to_ns
from lib.process.process_handle import ProcessHandle
from lib.stack.log_follower import SPAWNED, SupervisorEvent

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
        """Send one piece of garbage, none of it a valid order, if it is due. Never blocks."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + GARBAGE_INTERVAL_S
        if self._sock is None:
            found = socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            self._sock = socket.socket(family)
            self._sock.setblocking(False)
            self._sock.connect_ex(address)  # send() reports whether it worked
        try:
            self._sock.send(self._random.choice([*GARBAGE, self._random.randbytes(GARBAGE_BYTES)]))
            self._sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the connection. May be called again."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class RoleProcess:
    """The current process of a role, as far as the logs show it."""

    def __init__(self, pid: int, spawned_ns: int = 0) -> None:
        """Open a handle on it while its pid is fresh: the kernel may reuse the pid.

        `spawned_ns` is when supervisord logged that it started the process.
        """
        self.pid = pid
        self.spawned_ns = spawned_ns
        self._handle: ProcessHandle | None = None
        with suppress(ProcessLookupError):
            self._handle = ProcessHandle(pid)

    def may_be_hit(self, now_ns: int) -> bool:
        """Whether it is running and not young."""
        is_young = now_ns - self.spawned_ns < to_ns(YOUNG_S)
        return not is_young and self._handle is not None and not self._handle.has_ended()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self._handle is not None:
            self._handle.send(number)

    def close(self) -> None:
        """Close the handle. May be called again."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            handle.close()


@dataclass(eq=False)
class InjectedFault:
    """A planned fault that was injected. Times are monotonic."""

    planned: PlannedFault
    victim: str
    begin_ns: int
    end_ns: int | None = None
    """None: it was not over when the wait for the steady state ended."""
    until_s: float = math.inf
    """When the lab ends it. inf: it is over when supervisord starts a new process."""
    roles: tuple[str, ...] = ()
    """The roles whose processes are hit."""
    step: Callable[[], object] = lambda: None
    """Called in each pass while the fault lasts."""
    undo: list[Callable[[], object]] = field(default_factory=list)
    """Calls that undo the fault; each may be called again."""

    def put_back(self) -> None:
        """Undo the fault, last step first. May be called again, also after an interruption."""
        while self.undo:
            self.undo[-1]()
            self.undo.pop()


class StormRunner:
    """Runs one storm. The caller of `run` must call `undo`, also after an exception."""

    def __init__(
        self, context: RoundContext, proxies: Mapping[str, Proxy], pids: Mapping[str, int]
    ) -> None:
        """`proxies` are by stream, if there are any; `pids` are of the roles, none young."""
        self._settings = context.target.settings
        self._context = context
        self._proxies = proxies
        self._addresses = context.target.addresses()
        self._processes = {role: RoleProcess(pid) for role, pid in pids.items()}
        self._seen_events = len(context.recorder.recording.events)
        self._active: list[InjectedFault] = []
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
            what = f"fault {number} of {len(planned)}: {planned_fault.kind}"
            self._context.show_progress(what, (number - 1) / len(planned))
            self._begin_fault(planned_fault)
        while any(math.isfinite(fault.until_s) for fault in self._active):
            self._pass()

    def wait_until_over(self, limit_ns: int) -> None:
        """Wait until all faults are over and no role is young, for at most `limit_ns`."""
        self._context.show_progress("the storm is over: waiting for the steady state", 1.0)
        deadline_ns = time.monotonic_ns() + limit_ns
        while time.monotonic_ns() < deadline_ns:
            if not self._active and self._may_hit(self._processes):
                break
            self._pass()

    def undo(self) -> None:
        """Undo all active faults and close all process handles. May be called again."""
        with ExitStack() as all_undone:
            for process in self._processes.values():
                all_undone.callback(process.close)
            for fault in self._active:
                all_undone.callback(fault.put_back)
        self._active.clear()

    def _pass(self) -> None:
        time.sleep(LOOK_S)
        self._follow_events()
        for fault in list(self._active):
            if self._is_over(fault):
                self._end_fault(fault)
            else:
                fault.step()

    def _follow_events(self) -> None:
        events = self._context.recorder.recording.events[self._seen_events :]
        self._seen_events += len(events)
        for at_ns, _, what in events:
            if not isinstance(what, SupervisorEvent) or what.event != SPAWNED:
                continue
            if what.program in self._processes:
                self._processes[what.program].close()
                self._processes[what.program] = RoleProcess(what.pid, at_ns)

    def _is_over(self, fault: InjectedFault) -> bool:
        """Whether its time is over, or all its roles have a new process since it began."""
        spawned_ns = [self._processes[role].spawned_ns for role in fault.roles]
        return time.monotonic() >= fault.until_s or min(spawned_ns, default=0) > fault.begin_ns

    def _begin_fault(self, planned: PlannedFault) -> None:
        """Inject a fault into the first of its victims that can take it now."""
        for victim in planned.victims:
            fault = InjectedFault(planned, victim, time.monotonic_ns())
            fault.until_s = fault.begin_ns / SECOND_NS + planned.lasts_s
            self._active.append(fault)  # first: Ctrl-C may come at any moment
            try:
                self._inject(fault)
            except (TargetError, ProcessLookupError):
                fault.put_back()
                self._active.remove(fault)
            else:
                self.injected_faults.append(fault)
                self.last_change_ns = time.monotonic_ns()
                return
        self.skipped.append(planned)

    def _end_fault(self, fault: InjectedFault) -> None:
        fault.put_back()
        now_ns = fault.end_ns = time.monotonic_ns()
        self._active.remove(fault)
        if math.isfinite(fault.until_s):
            self.last_change_ns = now_ns

    def _inject(self, fault: InjectedFault) -> None:
        """Inject the fault. Raises TargetError or ProcessLookupError if it cannot be done now."""
        kind, victim = fault.planned.kind, fault.victim
        if connection_fault := fault.planned.connection_fault:
            self._inject_into_connection(fault, connection_fault)
        elif kind is FaultKind.STALLED:
            client = StalledClient(*self._addresses[victim], UNREAD_HELLO[victim])
            fault.undo.append(client.close)
        elif kind is FaultKind.NOISE:
            garbage_client = GarbageClient(self._addresses[victim], Random(fault.planned.seed))
            fault.undo.append(garbage_client.close)
            fault.step = garbage_client.step
        else:
            is_all = kind is FaultKind.EVERYTHING
            self._inject_into_roles(fault, kind, tuple(self._processes) if is_all else (victim,))

    def _inject_into_connection(
        self, fault: InjectedFault, connection_fault: ConnectionFault
    ) -> None:
        proxy = self._proxies[fault.victim]
        if fault.planned.kind in CUT_KINDS:
            if not proxy.cut(connection_fault):
                raise TargetError(f"{fault.victim} is not connected")
        elif not isinstance(proxy.fault, Clear):
            raise TargetError(f"{fault.victim} is under another fault that lasts")
        else:
            fault.undo.append(lambda: setattr(proxy, "fault", Clear()))
            proxy.fault = connection_fault

    def _inject_into_roles(
        self, fault: InjectedFault, kind: FaultKind, roles: tuple[str, ...]
    ) -> None:
        if not self._may_hit(roles):
            raise TargetError(f"{fault.victim} is young, down or already under a fault")
        fault.roles = roles
        if kind is FaultKind.FREEZE and not is_watched(fault.victim, self._settings):
            fault.until_s = time.monotonic() + UNWATCHED_S
        elif kind is not FaultKind.PAUSE:
            fault.until_s = math.inf
        if kind in (FaultKind.FREEZE, FaultKind.PAUSE):
            frozen = FrozenProcess(self._processes[fault.victim].pid)
            fault.undo.append(frozen.resume)
            frozen.stop()
        else:
            number = signal.SIGTERM if kind is FaultKind.TERM else signal.SIGKILL
            for role in roles:
                self._processes[role].send(number)

    def _may_hit(self, roles: Iterable[str]) -> bool:
        now_ns = time.monotonic_ns()
        busy = {role for fault in self._active for role in fault.roles}
        return all(role not in busy and self._processes[role].may_be_hit(now_ns) for role in roles)
