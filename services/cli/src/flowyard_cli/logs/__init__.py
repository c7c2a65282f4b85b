"""The log lines of a stack, from their source, and the events of a run as lines. The door is `commands/logs`.

Sources are `files` (of `flowyard up`) and `compose` (of containers); `events` come from the gateway.
"""
