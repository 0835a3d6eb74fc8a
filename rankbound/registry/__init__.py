"""The registry of claims, and the verification that walks it."""
