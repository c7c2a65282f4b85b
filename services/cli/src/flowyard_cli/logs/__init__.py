"""Log lines of a stack, from wherever they are kept, and a run's events among them. The door is `commands/logs`.

Sources are `files` (of `flowyard up`) and `compose` (of containers); `events` come from the gateway.
"""
