"""Whisper for inference alone: what steps put in the place of transformers' own, and the features of a GPU."""
