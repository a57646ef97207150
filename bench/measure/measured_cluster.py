"""The measured cluster: three brokers and four hosts on this machine (`lib.stack.cluster_lab`).

It is measured as one stack, whose gateway is on another host than its strategy.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.errors import BenchError
from bench.measure.measured_stack import (
    LOOK_S,
    STEADY_S,
    MeasuredStack,
    bench_dir,
    pids_of,
    wait_until,
)
from lib.errors import CannotStartError
from lib.process.log_events import GATEWAY
from lib.process.supervisor import Supervisor
from lib.settings import Settings
from lib.stack.cluster_lab import ClusterLab
from lib.stack.private_stack import PRIVATE, PrivateStack, PrivateStackError

MARKET: Final = "market"
STRATEGY: Final = "strategy"
ORDER: Final = "order"


class MeasuredCluster(MeasuredStack):
    """See `measured_cluster`. As a stack, it is the strategy host with the market's gateway."""

    def __init__(self, lab: ClusterLab) -> None:
        self._lab = lab
        [market], [strategy] = self._stacks(MARKET), self._stacks(STRATEGY)
        super().__init__(strategy, 1, market)
        self._supervisors = {
            host.name: Supervisor(stack.var_dir / "supervisor.sock")
            for host, stack in lab.stacks.items()
        }
        self.brokers = lab.brokers

    def pids(self) -> dict[str, int]:
        """Return the process ids of all brokers, and of all programs of all hosts but the tape.

        Raises RoleEndedError if a program does not run.
        """
        programs = {
            f"{host} {program}": pid
            for host, supervisor in self._supervisors.items()
            for program, pid in pids_of(supervisor).items()
        }
        return self.broker_pids() | programs

    def broker_pids(self) -> dict[str, int]:
        """Return the process ids of the brokers."""
        return {f"broker {name}": one.pid for name, one in self.brokers.processes.items()}

    def active_order_host(self) -> Settings:
        """Return the settings of the order host whose order manager serves. Raises BenchError."""
        give_up_s = time.monotonic() + STEADY_S
        while time.monotonic() < give_up_s:
            for stack in self._stacks(ORDER):
                manager = stack.settings.order_manager
                with socket.socket() as client:
                    if client.connect_ex((manager.host, manager.port)) == 0:
                        return stack.settings
            time.sleep(LOOK_S)
        raise BenchError(f"no order manager serves within {STEADY_S:g} s")

    def _stacks(self, kind: str) -> list[PrivateStack]:
        return [stack for host, stack in self._lab.stacks.items() if host.kind == kind]

    def _restart_gateway(self) -> None:
        """Stop it. The uplink starts it again at once, so nobody can wait for its end."""
        before = self._gateway_pid()
        self._supervisor.stop(GATEWAY, wait=False)
        deadline_s = time.monotonic() + STEADY_S
        never = "the uplink does not start the gateway again"
        wait_until(lambda: self._gateway_pid() not in (0, before), deadline_s, never)

    def _gateway_pid(self) -> int:
        """Return the process id of the gateway, 0 if it does not run."""
        return next(p.pid for p in self._supervisor.processes() if p.program == GATEWAY)


@contextmanager
def measured_cluster(settings: Settings) -> Iterator[MeasuredCluster]:
    """Run a cluster whose hosts have these settings; it trades when the block begins.

    The end of the block, however it comes, ends the cluster and removes its files. Raises
    BenchError.
    """
    parent = bench_dir()
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=PRIVATE, dir=parent))
    try:
        with ClusterLab(settings, directory) as lab:
            lab.start()
            cluster = MeasuredCluster(lab)
            cluster.wait_until_steady()
            cluster.active_order_host()
            yield cluster
    except (CannotStartError, PrivateStackError) as error:
        raise BenchError(str(error)) from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)
