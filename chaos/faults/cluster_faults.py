"""Faults of a cluster: of a whole host, of a role on one of its hosts, of its brokers.

A host that is killed loses all its processes at once, as by its power; one that is frozen stands
still as a whole, as a virtual machine that is moved, and then goes on as if no time had passed.
"""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from chaos.faults.role_faults import FrozenProcess
from chaos.lab.cluster_target import TargetCluster
from chaos.lab.target import TargetError, TargetStack
from lib.errors import CannotStartError
from lib.process.process_handle import ProcessHandle

STOP_PASSES: Final = 20
"""How often the processes of a host are listed, until none is left that is not stopped: each pass
stops all that it finds, and only a process that is not stopped can start another one."""


class ClusterFault(ABC):
    """One fault. Made for one injection."""

    def __init__(self, *victims: str) -> None:
        self.victims = victims
        """The hosts or brokers that are hit."""

    @property
    def names(self) -> str:
        """The victims, for people."""
        return " and ".join(self.victims)

    @abstractmethod
    def inject(self, cluster: TargetCluster) -> None:
        """Inject the fault. Raises TargetError, and ProcessLookupError for what has ended."""

    def undo(self, cluster: TargetCluster) -> None:  # noqa: B027 - there may be nothing to undo
        """Start or resume what is still down. May be called at any time, and again.

        Raises TargetError.
        """


class HostProcesses:
    """All processes of a host, stopped one after the other until none of them can start another."""

    def __init__(self, host: TargetStack) -> None:
        self._handles: dict[int, ProcessHandle] = {}
        for _ in range(STOP_PASSES):
            found = [pid for pid in host.pids() if pid not in self._handles]
            if not self._stop(found):
                break

    def kill(self) -> None:
        """Kill all of them."""
        for handle in self._handles.values():
            handle.kill()
        self._close()

    def resume(self) -> None:
        """Let all of them go on. May be called again."""
        for handle in self._handles.values():
            handle.send(signal.SIGCONT)
        self._close()

    def _stop(self, pids: Iterable[int]) -> bool:
        """Stop processes; return whether there were any."""
        stopped = False
        for pid in pids:
            with suppress(ProcessLookupError):
                handle = self._handles[pid] = ProcessHandle(pid)
                handle.send(signal.SIGSTOP)
                stopped = True
        return stopped

    def _close(self) -> None:
        while self._handles:
            self._handles.popitem()[1].close()


class HostKilled(ClusterFault):
    """SIGKILL of all processes of a host; then the host is started again."""

    def inject(self, cluster: TargetCluster) -> None:
        """Kill the host."""
        for name in self.victims:
            HostProcesses(cluster.hosts[name]).kill()

    def undo(self, cluster: TargetCluster) -> None:
        """Start the host again."""
        for name in self.victims:
            if cluster.hosts[name].has_ended():
                cluster.hosts[name].start_again()


class HostFrozen(ClusterFault):
    """SIGSTOP of all processes of a host; then SIGCONT."""

    def __init__(self, *victims: str) -> None:
        super().__init__(*victims)
        self._frozen: list[HostProcesses] = []

    def inject(self, cluster: TargetCluster) -> None:
        """Freeze the host."""
        for name in self.victims:
            self._frozen.append(HostProcesses(cluster.hosts[name]))

    def undo(self, cluster: TargetCluster) -> None:
        """Let the host go on."""
        while self._frozen:
            self._frozen[-1].resume()
            self._frozen.pop()


class RoleKilled(ClusterFault):
    """SIGKILL of one role of a host, which its supervisord starts again."""

    def __init__(self, host: str, role: str) -> None:
        super().__init__(host)
        self._role = role

    def inject(self, cluster: TargetCluster) -> None:
        """Kill the role."""
        for name in self.victims:
            os.kill(_pid_of(cluster.hosts[name], self._role), signal.SIGKILL)


class RoleFrozen(ClusterFault):
    """SIGSTOP of one role of a host, which its watchdog ends."""

    def __init__(self, host: str, role: str) -> None:
        super().__init__(host)
        self._role = role
        self._frozen: list[FrozenProcess] = []

    def inject(self, cluster: TargetCluster) -> None:
        """Freeze the role."""
        for name in self.victims:
            self._frozen.append(FrozenProcess(_pid_of(cluster.hosts[name], self._role)))
            self._frozen[-1].stop()

    def undo(self, cluster: TargetCluster) -> None:
        """Resume the process, if it is still there."""
        for frozen in self._frozen:
            frozen.resume()


class BrokersKilled(ClusterFault):
    """SIGKILL of brokers; then they are started again, with what is on their disks."""

    def inject(self, cluster: TargetCluster) -> None:
        """Kill the brokers."""
        for name in self.victims:
            cluster.lab.brokers.kill(name)

    def undo(self, cluster: TargetCluster) -> None:
        """Start again those that have ended."""
        brokers = cluster.lab.brokers
        try:
            if down := [one for one in self.victims if brokers.processes[one].poll() is not None]:
                brokers.start(*down)
        except CannotStartError as error:
            raise TargetError(str(error)) from None


class BrokersFrozen(ClusterFault):
    """SIGSTOP of brokers: they keep their connections, and are silent; then SIGCONT."""

    def inject(self, cluster: TargetCluster) -> None:
        """Freeze the brokers."""
        self._send(cluster, signal.SIGSTOP)

    def undo(self, cluster: TargetCluster) -> None:
        """Let the brokers go on."""
        self._send(cluster, signal.SIGCONT)

    def _send(self, cluster: TargetCluster, number: signal.Signals) -> None:
        for name in self.victims:
            cluster.lab.brokers.processes[name].send_signal(number)


def _pid_of(host: TargetStack, role: str) -> int:
    process = host.processes().get(role)
    if process is None or not process.pid:
        raise TargetError(f"{role} does not run")
    return process.pid
