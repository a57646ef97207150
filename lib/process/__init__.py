"""What every daemon does around its work.

In reading order: `role` (start, run, end), `run_identity` (which stack a process belongs to),
`logs`, `log_events` (every event that is logged), `client_log` and `throttled_log` (few lines,
whatever a peer does), `state_file` (numbers that outlive a kill), `heartbeat`, `watchdog_rules`
(which process hangs), `supervisor` (XML-RPC to supervisord), `process_handle`, `file_lock`, and
the place in the code of a role that hangs or starts slowly: `traceback_dump`, `traceback_frames`,
`long_start`. Used by the daemons and by every room above; must import none of these.
"""
