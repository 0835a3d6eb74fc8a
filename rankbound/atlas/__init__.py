"""The head-size atlas: what each class of patterns needs, in each sense."""
