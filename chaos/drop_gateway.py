"""End the gateway the hard way (SIGKILL), or gracefully: --signal TERM, --restart.

Prices and news stop for as long as it takes to start it again. Expected: it goes on with the same
tape where it was, the orderbook gets every tick, the strategy misses none.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.role_experiment import drop

if __name__ == "__main__":
    sys.exit(drop("gateway", __doc__))
