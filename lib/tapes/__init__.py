"""What is played: the ticks and the sentiments of a tape, readable from any position.

`tape` (what every tape can do); `random_walk`, `sentiments` (the defaults; `random_numbers` is what
they draw from). Of files: `recipe` (what to play), `source_files`, `findings` (what was found),
`prepared_writer`, `prepared` (arrays that are mapped), `store` (those of a var directory),
`preparation` (has them made). No I/O once a tape is open; must know neither streams nor clients.
"""
