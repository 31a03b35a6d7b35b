"""What the steps that remove weights are made of: what flows through a model, what it can do without, what is left."""
