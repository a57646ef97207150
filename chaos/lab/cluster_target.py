"""The cluster that an experiment acts on: always a private one, with a standby for each writer.

It is its strategy host, in the eyes of recorder and judge: a stack like any other, whose ticks come
from the market hosts, and whose orders are in the ledgers of the order hosts. The other hosts and
the brokers stand behind it, for the faults.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final

from chaos.lab.cluster_streams import STREAMS, ClusterStreams
from chaos.lab.target import (
    LOOK_S,
    FollowedLogs,
    TargetError,
    TargetStack,
    wait_for,
    why_not_steady,
)
from lib.clock import SECOND_NS
from lib.cluster.ledger_check import NotComparedError
from lib.cluster.status_file import Activity, StreamStatus, read_status
from lib.cluster.streams import LEDGER, NEWS, PRICE
from lib.errors import CannotStartError
from lib.process.log_events import GATEWAY, ORDER_MANAGER, UPLINK
from lib.process.supervisor import Process
from lib.settings import PROJECT_ROOT, Settings
from lib.stack.cluster_lab import ClusterLab, LabHost
from lib.stack.private_stack import PRIVATE, PrivateStackError
from lib.stack.supervisord_configuration import programs_of, read_configuration

STRATEGY_HOST: Final = "strategy-1"
MARKET_HOSTS: Final = ("market-1", "market-2")
ORDER_HOSTS: Final = ("order-1", "order-2")
HOSTS: Final = (
    *(LabHost(name, "market", "market") for name in MARKET_HOSTS),
    LabHost(STRATEGY_HOST, "strategy", STRATEGY_HOST),
    *(LabHost(name, "order", "order") for name in ORDER_HOSTS),
)
WRITERS: Final = {
    PRICE: (UPLINK, MARKET_HOSTS),
    NEWS: (UPLINK, MARKET_HOSTS),
    LEDGER: (ORDER_MANAGER, ORDER_HOSTS),
}
"""By stream: the role that writes it, and the hosts that have this role."""
STEADY_S: Final = 90.0
"""How long a cluster may take to be whole again: a broker to catch up, and a host to follow."""
STEADY_LOOK_S: Final = 0.25
WRITER_S: Final = 10.0
"""How long it may take until one host says that it writes a stream, and no other one does."""
CAUGHT_UP_S: Final = 10.0
"""How long the ledger of a standby may be behind after the last order."""
_WRITES: Final = (Activity.WRITING, Activity.RESOLVING)


class TargetCluster(TargetStack):
    """A private cluster. Leaving the `with` block ends it.

    Attributes:
        lab: the brokers, and the processes of the hosts.
        hosts: each host, as a stack.

    """

    spans_hosts = True

    def __init__(self, lab: ClusterLab) -> None:
        """The cluster is running. Raises TargetError."""
        self.lab = lab
        stacks = {host.name: stack for host, stack in lab.stacks.items()}
        super().__init__(stacks[STRATEGY_HOST].settings, stacks[STRATEGY_HOST])
        self.hosts = {name: TargetStack(one.settings, one) for name, one in stacks.items()}
        self._open = ExitStack()
        try:
            cluster = stacks[ORDER_HOSTS[0]].settings.cluster
            assert cluster is not None, "the lab writes it"
            self.streams = self._open.enter_context(ClusterStreams(cluster))
        except (NotComparedError, CannotStartError) as error:
            raise TargetError(str(error)) from None

    @property
    def ledger(self) -> Path:
        """Where orders are booked, as they are on every order host."""
        return self.hosts[ORDER_HOSTS[0]].ledger

    @property
    def takeover_after_s(self) -> float:
        """How long a writer may be silent."""
        cluster = self.settings.cluster
        assert cluster is not None, "the lab writes it"
        return cluster.takeover_after

    def gateways(self) -> list[tuple[str, int]]:
        """Return host and port of each gateway that may play its tape."""
        return [self.hosts[name].addresses()["price"] for name in MARKET_HOSTS]

    def logs(self) -> list[FollowedLogs]:
        """Return the logs of the strategy host, and of the roles that write streams."""
        text = read_configuration(PROJECT_ROOT / "etc" / "cluster" / "strategy.conf")
        own = tuple(program.name for program in programs_of(text))
        writers = {host: (role,) for role, hosts in WRITERS.values() for host in hosts}
        return [
            FollowedLogs("", self.var_dir, own),
            *(FollowedLogs(host, self.hosts[host].var_dir, one) for host, one in writers.items()),
        ]

    def writer(self, stream: str) -> str:
        """Return the host that writes a stream. Raises TargetError if for a while it is not one."""
        wait_for(lambda: len(self._writers(stream)) == 1, WRITER_S)
        return self._one_writer(stream)

    def leader(self, stream: str) -> str:
        """Return the broker that leads a stream. Raises TargetError if there is none."""
        with suppress(NotComparedError):
            if leader := self.streams.leader(stream):
                return leader
        raise TargetError(f"{stream} has no leader")

    def wait_until_steady(self) -> dict[str, Process]:
        """Wait until every part is there, each writer has its standby, and ticks are evaluated.

        Returns the processes of the strategy host. Raises TargetError after `STEADY_S`.
        """
        deadline_s = time.monotonic() + STEADY_S
        while trouble := self._trouble():
            if time.monotonic() > deadline_s:
                raise TargetError(f"the cluster in {self.lab.directory} is not whole: {trouble}")
            time.sleep(STEADY_LOOK_S)
        return super().wait_until_steady()

    def judge_streams(self) -> None:
        """Judge what the streams have got since the last call. Raises TargetError."""
        try:
            self.streams.judge_on()
        except NotComparedError as error:
            raise TargetError(str(error)) from None

    def stop_ticks(self) -> None:
        """Stop the uplinks, those that stand by first. The gateway goes on, for nobody."""
        writer = self.writer(PRICE)
        for name in sorted(MARKET_HOSTS, key=lambda name: name == writer):
            self.hosts[name].stop(UPLINK)

    def differences(self) -> list[str]:
        """Return what is wrong with the streams, and where a ledger is not what they say."""
        found = []
        try:
            self.judge_streams()
        except TargetError as error:
            found.append(str(error))
        for name in ORDER_HOSTS:
            host = self.hosts[name]
            wait_for(partial(self._has_all, name), CAUGHT_UP_S, LOOK_S)
            found += [f"{name}: {line}" for line in host.check_ledger()]
        return [*found, *self.streams.all_findings()]

    def left_behind(self) -> list[str]:
        """Return what remains of every host after its end."""
        return [line for host in self.hosts.values() for line in host.left_behind()]

    def end(self) -> None:
        """End the cluster. May be called again."""
        self._open.close()
        self.lab.end()

    def remove_files(self) -> None:
        """Remove the files of the ended cluster."""
        self.lab.remove_files()

    def _statuses(self, stream: str) -> dict[str, StreamStatus | None]:
        role, hosts = WRITERS[stream]
        now_ns = time.monotonic_ns()
        return {host: read_status(self.hosts[host].var_dir, role, stream, now_ns) for host in hosts}

    def _writers(self, stream: str) -> list[str]:
        """Return the hosts that say that they write a stream."""
        return [host for host, one in self._statuses(stream).items() if _writes(one)]

    def _one_writer(self, stream: str) -> str:
        found = self._writers(stream)
        if len(found) != 1:
            raise TargetError(f"{stream} is written by {', '.join(found) or 'no host'}")
        return found[0]

    def _has_all(self, order_host: str) -> bool:
        """Whether the ledger of an order host is where TW_LEDGER is."""
        status = self._statuses(LEDGER)[order_host]
        return status is not None and status.figures.lag == 0

    def _trouble(self) -> str:
        """Return why the cluster is not whole, "" if it is."""
        for name, process in self.lab.brokers.processes.items():
            if process.poll() is not None:
                return f"broker {name} is down"
        try:
            for name, host in self.hosts.items():
                if trouble := self._trouble_of(name, host):
                    return f"{name}: {trouble}"
            for stream in STREAMS:
                writer = self._one_writer(stream)
                for host_name, status in self._statuses(stream).items():
                    if host_name != writer and not _stands_by(stream, status):
                        return f"{host_name}: does not stand by for {stream}"
        except TargetError as error:
            return str(error)
        return self.streams.why_not_steady()

    def _trouble_of(self, name: str, host: TargetStack) -> str:
        processes = host.processes()
        gateway = processes.get(GATEWAY)
        if gateway and name != self._one_writer(PRICE):
            if gateway.pid:
                return f"{GATEWAY} runs, and {name} is a standby"
            del processes[GATEWAY]
        return why_not_steady(processes.values())


def _writes(status: StreamStatus | None) -> bool:
    return status is not None and status.figures.activity in _WRITES


def _stands_by(stream: str, status: StreamStatus | None) -> bool:
    """Whether a host could take a stream over: its ledger must have all of it."""
    if status is None or status.figures.activity != Activity.STANDING_BY:
        return False
    return stream != LEDGER or 0 <= status.figures.lag_ns < SECOND_NS


def start_cluster(settings: Settings, parent: Path) -> TargetCluster:
    """Start a cluster with these settings in a directory of its own. Raises TargetError."""
    with ExitStack() as undo:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            directory = Path(tempfile.mkdtemp(prefix=PRIVATE, dir=parent))
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
            lab = ClusterLab(settings, directory, HOSTS)
            undo.callback(lab.end)
            lab.start()
        except OSError as error:
            raise TargetError(f"no cluster: {error.filename}: {error.strerror}") from None
        except (CannotStartError, PrivateStackError) as error:
            raise TargetError(f"no cluster: {error}") from None
        cluster = TargetCluster(lab)
        undo.pop_all()
    return cluster
