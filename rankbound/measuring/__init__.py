"""Measuring heads of trained models, from their queries and keys."""
