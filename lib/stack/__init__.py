"""The stack as a whole, from outside: its programs, its logs, how it ends.

In reading order: `launch` (starts and stops a supervisord), `supervisord_configuration`,
`private_stack` (a stack beside any other), `strategies`; what is read of a running stack:
`log_follower` and `observer`, `event_phrases`; for an operator who does not watch: `alert_rules`,
`bounded_command`; what the screen shows: `repeated_lines`, `fatal_programs`, `console`; and
`long_program`, the frame of a program that runs for minutes beside a stack. Used by `main.py`,
`lib.log_view`, `lib.dashboard`, `chaos`, `bench`, `video` and two roles: the dashboard, the alerts.
"""
