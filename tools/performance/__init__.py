"""What docs/performance.md is made from."""
