"""What is played: the ticks and the sentiments of a tape, readable from any position.

In reading order: `tape` (what every tape can do), `random_walk` (the default), `csv_file` (recorded
prices), `sentiments` (the news), `random_numbers` (what the random ones draw from); `look`, `chart`
(what people see of a tape), `recording_files` (their names). Used by `lib.streams` and the gateway;
must know neither streams nor clients, and do no I/O once a file is loaded.
"""
