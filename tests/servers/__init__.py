"""Real servers for tests and benchmarks: one class per server, all on loopback addresses."""
