"""The stack as a whole, from outside: its programs, its logs, how it ends.

In reading order: `launch` (starts and stops a supervisord), `supervisord_configuration`,
`private_stack` (a stack beside any other), `strategies`; then what is read of a running stack:
`log_follower` and `observer`; and what the screen shows of it: `repeated_lines`, `fatal_programs`,
`console`. Used by `main.py`, `lib.log_view`, `lib.dashboard`, `chaos`, `bench` and `video`; the
dashboard is the only role that may import it.
"""
