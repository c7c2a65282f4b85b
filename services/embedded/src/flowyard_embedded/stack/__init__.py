"""What `flowyard up` starts and keeps running: Postgres, NATS and the services, each a process. Its door is `up`.

What others may know of a stack is in `place` (where it is) and `state` (what runs).
"""
