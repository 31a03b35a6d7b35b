"""The gate's own benchmark: how often its verdicts are wrong, see docs/verdicts.md."""
