"""What every daemon does around its work.

In reading order: `role` (start, run, end), `run_identity` (which stack a process belongs to),
`logs`, `state_file` (numbers that outlive a kill), `heartbeat`, `watchdog_rules` (which process
hangs), `supervisor` (XML-RPC to supervisord), `process_handle`, `file_lock`. `traceback_dump`,
`traceback_frames` and `long_start` find the place in the code where a process hangs or takes long.
Used by the daemons and by every package above; must not know what a role does.
"""
