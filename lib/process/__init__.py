"""What every daemon does around its work.

In reading order: `role` (start, run, end), `standard_streams`, `limits`, `run_identity` (the stack
of a process), `logs`, `log_events`, `client_log`, `throttled_log`, `log_once` (few lines),
`client_table` (a server's clients), `state_file` (numbers that outlive a kill), `own_files`,
`file_lock`, `heartbeat`, `watchdog_rules` (which process hangs), `supervisor` (XML-RPC),
`process_handle`; where code hangs: `traceback_dump`, `traceback_frames`, `slow_start`. Used by the
daemons and most rooms above; must not know what a role does.
"""
