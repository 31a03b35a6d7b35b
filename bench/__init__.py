"""The suite: what is asserted of every row. Where lxbench is installed, it is ``lxbench.bench``."""
