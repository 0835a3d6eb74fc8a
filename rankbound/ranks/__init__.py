"""Ranks whose names are never confused: numerical, effective, stable, exact."""
