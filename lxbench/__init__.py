"""lxbench: which optimisation of a Whisper model is faster, what it costs in words, and whether either got worse."""
