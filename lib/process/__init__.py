"""What every daemon does around its work.

In reading order: `role` (start, run, end), `standard_streams`, `limits`, `run_identity`, `logs`,
`log_events`, `client_log`, `throttled_log`, `log_once`, `client_table`; of files: `own_files` (what
is trusted), `secret_files`, `file_lock`, `state_file`, `kept_files` (put back if lost),
`socket_file`; `heartbeat`, `watchdog_rules` (what hangs), `supervisor` (XML-RPC),
`supervisord_files`, `alerts_process`, `process_handle`; where code hangs: `traceback_dump`,
`traceback_frames`, `slow_start`. Used by most rooms above; must not know what a role does.
"""
