"""End the gateway the hard way (SIGKILL), or gracefully: --signal TERM, --restart.

Prices and news stop until it is started again. Expected: it continues the same tape where it was,
the orderbook gets every tick, the strategy misses none.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.role_experiment import drop_role

if __name__ == "__main__":
    sys.exit(drop_role("gateway", __doc__))
