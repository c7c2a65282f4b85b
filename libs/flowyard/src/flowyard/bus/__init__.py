"""NATS: the only room that imports nats. `connection.open_bus` connects; `messages` defines what is sent.

Any message may be lost: Postgres has the state, and each `doorbell` has a poll in addition.
"""
