"""End the order_manager the hard way (SIGKILL), or gracefully: --signal TERM, --restart.

Orders cannot be delivered until it is started again. Expected: the strategy resends the unanswered
orders, and every order is in the ledger exactly once.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.role_experiment import drop_role

if __name__ == "__main__":
    sys.exit(drop_role("order_manager", __doc__))
