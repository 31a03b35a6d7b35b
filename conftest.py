"""The suite's options, fixtures and reports: ``lxbench.plugin``, here and wherever lxbench is installed."""

pytest_plugins = ("lxbench.plugin",)
