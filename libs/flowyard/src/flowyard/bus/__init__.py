"""NATS: the only room that knows nats. The door is `connection.open_bus`; what travels is in `messages`.

Everything here may be lost: the rows are the truth, and behind each `doorbell` there is a poll.
"""
