"""The stack as a whole, from outside: its programs, its logs, how it ends.

In reading order: `launch` (starts and stops a supervisord), `start_checks` (what the machine must
give), `supervisord_configuration`, `private_stack` (beside any other), `strategies`; what is read
of a running stack: `log_follower`, `observer`, `event_phrases`, `recording`; for an operator who is
away: `alert_rules`, `bounded_command`; on the screen: `repeated_lines`, `fatal_programs`,
`console`, `progress_bar`; `foreground` and `long_program`, frames of programs; `brokers`,
`cluster_lab` (a cluster on one machine). Used by `main.py`, `bench`, `chaos` and command lines.
"""
