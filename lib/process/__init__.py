"""What every daemon does around its work.

In reading order: `role` (start, run, end), `run_identity` (which stack a process belongs to),
`logs`, `log_events` (every event that is logged), `client_log`, `throttled_log` and `log_once` (a
bounded number of lines), `client_table` (whom a server accepts and disconnects), `state_file`
(numbers that outlive a kill), `heartbeat`, `watchdog_rules` (which process hangs), `supervisor`
(XML-RPC to supervisord), `process_handle`, `file_lock`; and where code hangs or is slow:
`traceback_dump`, `traceback_frames`, `slow_start`. Used by the daemons and most rooms above; must
not know what a role does.
"""
