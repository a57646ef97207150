"""Freeze a role (SIGSTOP): the process is alive, keeps its connections, and does nothing.

supervisord never notices. Expected: the watchdog kills the role after `hang_after`, supervisord
starts it again, and nothing is lost. If no watchdog watches the role, the lab resumes the process.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults.role_faults import Freeze
from chaos.lab.experiment import command_line, role_argument, run_experiment
from chaos.lab.target import known_roles
from chaos.role_experiment import RoleExperiment

if __name__ == "__main__":
    parser = command_line("freeze", __doc__)
    parser.add_argument("role", metavar="ROLE", type=role_argument, help=", ".join(known_roles()))
    arguments = parser.parse_args()
    sys.exit(
        run_experiment(RoleExperiment("freeze", Freeze(arguments.role), arguments.times), arguments)
    )
