"""What every daemon does around its work.

In reading order: `role` (start, run, end), `run_identity` (which stack a process belongs to),
`logs`, `log_events` (all that is logged), `client_log`, `throttled_log`, `log_once`,
`client_table`, `own_files` (what is trusted), `file_lock`, `state_file`, `kept_files` (put back if
lost), `heartbeat`, `watchdog_rules` (which process hangs), `supervisor` (XML-RPC),
`supervisord_files`, `process_handle`; where code hangs or is slow: `traceback_dump`,
`traceback_frames`, `slow_start`. For daemons and most rooms above; knows nothing of a role's work.
"""
