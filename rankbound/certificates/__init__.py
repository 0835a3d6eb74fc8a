"""Certificates: statements with the data that proves them, and the checker that trusts none."""
