"""Many runs of one function: a plan of cells, a store, and runs that can be resumed."""
