"""Whisper for inference alone: what steps put in the place of what transformers brings, from features to tokens."""
