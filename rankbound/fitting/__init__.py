"""Heads fitted to a context matrix."""
