"""What `make demo` and `make test` are made of."""
