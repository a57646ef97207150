"""The latest prices and the latest ticks in shared memory: one writer, any number of readers.

In reading order: `book` (what a user holds), `segment` and `records` (the bytes and their checks),
`writer`, `latest` and `reader`, `segment_files` (the files in /dev/shm), `wake_up` (how a reader
sleeps), `clean_up` (removes it all when the run ends), `own_price_book` (a role finds the book of
its own stack), `ingest` (writes the ticks of a stream), `pace` (that of the slowest role). Other
programs use it through `lib.shared_memory_utils`; must not know strategies or orders.
"""
