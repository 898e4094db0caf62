"""The loop: caches and a queue of keys in, plans executed."""
