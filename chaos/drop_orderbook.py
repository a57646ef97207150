"""End the orderbook the hard way (SIGKILL), or gracefully: --signal TERM, --restart.

The price book stands still for as long as it takes to start it again. Expected: its successor
takes from the gateway what was played meanwhile, and the strategy misses no tick.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.role_experiment import drop

if __name__ == "__main__":
    sys.exit(drop("orderbook", __doc__))
