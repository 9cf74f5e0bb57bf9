"""The pages of the pool, one module for each."""
