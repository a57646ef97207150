"""End the strategy the hard way (SIGKILL), or gracefully: --signal TERM, --restart.

No orders are decided until it is started again. Expected: it comes back with the positions of the
ledger and full windows, reports the ticks in between as missed and trades on none of them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.role_experiment import drop_role

if __name__ == "__main__":
    sys.exit(drop_role("strategy", __doc__))
