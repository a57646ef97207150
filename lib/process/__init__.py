"""What every daemon does around its work.

In reading order: `role` (start, run, end), `run_identity` (which stack a process belongs to),
`logs`, `log_events` (all that is logged), `client_log`, `throttled_log`, `log_once` (few lines),
`client_table` (a server's clients), `state_file` (numbers that outlive a kill), `heartbeat`,
`watchdog_rules` (which process hangs), `alerts_process`, `supervisor` (XML-RPC), `process_handle`,
`file_lock`, `own_files` (trusted ones); where code hangs or is slow: `traceback_dump`,
`traceback_frames`, `slow_start`. Used by most rooms above; must not know what a role does.
"""
