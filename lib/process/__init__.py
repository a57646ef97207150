"""What every daemon does around its work.

In reading order: `role` (start, run, end), `standard_streams`, `limits`, `run_identity` (the stack
of a process), `logs`, `log_events`, `client_log`, `throttled_log`, `log_once` (few lines),
`client_table` (a server's clients), `own_files` (which are trusted), `state_file` (outlives a
kill), `kept_files` (put back when they vanish), `socket_file`, `file_lock`, `heartbeat`,
`watchdog_rules` (what hangs), `supervisor` (XML-RPC), `supervisord_files`, `alerts_process`,
`process_handle`; where code hangs: `traceback_dump`, `traceback_frames`, `slow_start`. Used by most
rooms above; must not know what a role does.
"""
