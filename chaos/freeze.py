"""Freeze a role (SIGSTOP): a process that is alive, keeps its connections, and says nothing.

supervisord never notices. Expected: the watchdog does, after `hang_after`, and kills it; it is
started again, and nothing is lost. Where nobody does, the lab continues the process itself.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.lab import EXIT_NO_TARGET, command_line, run
from chaos.role_experiment import RoleExperiment
from chaos.role_faults import Freeze
from chaos.target import known_roles


def main() -> int:
    """Run the experiment; return the exit code."""
    parser = command_line("freeze", __doc__)
    parser.add_argument("role", metavar="ROLE", help=", ".join(known_roles()))
    arguments = parser.parse_args()
    if arguments.role not in known_roles():
        print(
            f"chaos/freeze.py: no role {arguments.role!r}; there are {', '.join(known_roles())}",
            file=sys.stderr,
        )
        return EXIT_NO_TARGET
    return run(RoleExperiment("freeze", Freeze(arguments.role), arguments.times), arguments)


if __name__ == "__main__":
    sys.exit(main())
