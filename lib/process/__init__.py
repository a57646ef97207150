"""What every daemon does around its work.

In reading order: `role` (start, run, end), `run_identity` (which stack a process belongs to),
`logs`, `log_events` (all that is logged), `client_log`, `throttled_log`, `log_once` (few lines),
`client_table` (a server's clients), `own_files` (which files are trusted), `state_file` (numbers
that outlive a kill), `kept_files` (what is put back when it vanishes), `heartbeat`,
`watchdog_rules` (which process hangs), `supervisor` (XML-RPC), `supervisord_files`,
`process_handle`, `file_lock`; where code hangs or is slow: `traceback_dump`, `traceback_frames`,
`slow_start`. Used by the daemons and most rooms above; must not know what a role does.
"""
