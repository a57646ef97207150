"""End the strategy the hard way (SIGKILL), or gracefully: --signal TERM, --restart.

Nobody decides for as long as it takes to start it again. Expected: it comes back with the
positions of the ledger and full windows, reports the ticks of its absence and trades none of them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.role_experiment import drop

if __name__ == "__main__":
    sys.exit(drop("strategy", __doc__))
