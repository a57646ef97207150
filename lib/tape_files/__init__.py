"""Files that people have, read into tapes, and recordings written.

`own_process` (preparing apart from its caller), `parts` (a Parquet file that survives its writer).
"""
