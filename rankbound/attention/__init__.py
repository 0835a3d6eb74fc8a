"""Attention in the paper's notation: columns are tokens, softmax acts on columns."""
