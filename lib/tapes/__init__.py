"""What is played: the ticks and the sentiments of a tape, readable from any position. Pure.

`random_walk` is the default, `csv_file` plays recorded prices, `sentiments` gives the news. Used
by `lib.streams.publication` and the gateway; must know neither sequence numbers nor clients.
"""
