"""Records as tables for people."""
