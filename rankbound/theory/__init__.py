"""The theorems as functions, one theorem a file."""
