"""Freeze a role (SIGSTOP): a process that is alive, keeps its connections, and says nothing.

supervisord never notices. Expected: the watchdog does, after `hang_after`, and kills it; it is
started again, and nothing is lost. Where nobody does, the lab continues the process itself.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults.role_faults import Freeze
from chaos.lab.experiment import command_line, role_argument, run
from chaos.lab.target import known_roles
from chaos.role_experiment import RoleExperiment

if __name__ == "__main__":
    parser = command_line("freeze", __doc__)
    parser.add_argument("role", metavar="ROLE", type=role_argument, help=", ".join(known_roles()))
    arguments = parser.parse_args()
    sys.exit(run(RoleExperiment("freeze", Freeze(arguments.role), arguments.times), arguments))
