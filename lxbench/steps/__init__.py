"""Steps: plain functions model -> model. They import torch when called, so that the ladder reads without it."""
