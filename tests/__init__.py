"""lxbench's own tests."""
