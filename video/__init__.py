"""Records video.mp4: the running stack, in real terminals and a real browser (`make video`).

`script` has the scenes, `python -m video` plays and records them. Must not measure or judge.
"""
