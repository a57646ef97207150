"""Record the experiments with a cluster, one after the other, in under 15 minutes.

As `chaos.standard_set` does it, with `make cluster-chaos`: the figures go to report/cluster_chaos.
They are apart from those of one host, because a cluster needs brokers (requirements-cluster.txt).

With names of experiments, only these are run, and the recorded figures of the others stay.

Exit codes: 0 every hypothesis holds, 1 one does not hold (all experiments are still run), 130 after
Ctrl-C (report/cluster_chaos stays unchanged).
"""

from __future__ import annotations

import sys
from typing import Final

from chaos.report.recorded import CLUSTER_RECORDED
from chaos.standard_set import PlannedExperiment, run_set

CLUSTER_SET: Final = (
    PlannedExperiment("break_cluster", ("break_cluster.py", "--times", "1"), 330),
    PlannedExperiment(
        "succeed_writers",
        (
            "break_cluster.py",
            *("--fault", "market_host_killed", "--fault", "order_host_killed"),
            *("--times", "5"),
        ),
        240,
    ),
    PlannedExperiment("storm_cluster", ("storm_cluster.py", "--minutes", "2", "--seed", "1"), 200),
)


def main() -> int:
    """Run and record the set; return the exit code."""
    return run_set(CLUSTER_SET, CLUSTER_RECORDED, "python -m chaos.cluster_set", __doc__)


if __name__ == "__main__":
    sys.exit(main())
