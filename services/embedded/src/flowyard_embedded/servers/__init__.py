"""A real Postgres and a real NATS from wheels, each a process in a directory of its own: `postgres` and `nats`.

Both start and stop in the calling thread; `lifetime.opened` makes a block of it for coroutines. POSIX only.
"""
