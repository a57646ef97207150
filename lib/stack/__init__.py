"""The stack as a whole, from outside: its programs, its logs, how it ends.

In reading order: `launch` (starts and stops a supervisord), `start_checks` (what the machine must
give), `supervisord_configuration`, `private_stack` (beside any other), `strategies`; what is read
of a running stack: `log_follower`, `observer`, `event_phrases`, `alert_rules`; what the screen
shows: `repeated_lines`, `fatal_programs`, `console`; and `long_program`, the frame of a program of
minutes. Used by `main.py`, `lib.log_view`, `lib.dashboard`, `daemons.alerts`, `chaos`, `bench` and
`video`; of the roles, only the dashboard and the alerts' process may import it.
"""
