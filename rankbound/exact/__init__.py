"""Exact arithmetic: the only place that reaches python-flint."""
