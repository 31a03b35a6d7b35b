"""Scripts that whoever works on lxbench runs by hand."""
