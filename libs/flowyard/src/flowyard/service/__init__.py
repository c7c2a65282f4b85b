"""What every service opens when it starts: Postgres, NATS, metrics, a cache of documents, checks of its health.

The door is `process.run_service`; `connections.open_connections` gives what a service is built from.
"""
