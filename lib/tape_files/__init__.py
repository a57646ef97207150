"""Files that people have, read into tapes."""
