"""What is played: the ticks and the sentiments of a tape. A tape is a pure function of position.

In reading order: `tape` (the protocol of every tape), `random_walk` (the default), `csv_file`
(recorded prices), `sentiments` (the news), `random_numbers` (the source of the random ones). Used
by `lib.streams.publication` and the gateway; must know neither sequence numbers nor clients.
"""
