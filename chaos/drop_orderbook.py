"""End the orderbook the hard way (SIGKILL), or gracefully: --signal TERM, --restart.

The price book gets no ticks until it is started again. Expected: the new process gets the ticks in
between from the gateway, and the strategy misses none.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.role_experiment import drop_role

if __name__ == "__main__":
    sys.exit(drop_role("orderbook", __doc__))
