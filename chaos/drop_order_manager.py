"""End the order_manager the hard way (SIGKILL), or gracefully: --signal TERM, --restart.

Orders find nobody for as long as it takes to start it again. Expected: the strategy sends again
what was not answered, and every order is in the ledger exactly once.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.role_experiment import drop

if __name__ == "__main__":
    sys.exit(drop("order_manager", __doc__))
