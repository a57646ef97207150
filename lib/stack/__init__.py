"""The stack as a whole, from outside: its programs, its logs, how it ends.

In reading order: `launch` (starts and stops a supervisord), `start_checks` (what the machine must
give), `supervisord_configuration`, `private_stack` (a stack beside any other), `strategies`; what
is read of a running stack: `log_follower` and `observer`; what the screen shows of it:
`repeated_lines`, `fatal_programs`, `console`; and `long_program`, the frame of a program that runs
for minutes beside a stack. Used by `main.py`, `lib.log_view`, `lib.dashboard`, `chaos`, `bench` and
`video`; the dashboard is the only role that may import it.
"""
