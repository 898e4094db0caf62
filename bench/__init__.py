"""How Paceline behaves with many jobs, seen from outside: the API server's watch, its counters, and /proc."""
