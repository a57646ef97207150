"""Records video.mp4: the running stack, in real terminals and a real browser (`make video`)."""
