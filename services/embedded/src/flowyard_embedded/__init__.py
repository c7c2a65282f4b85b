"""Flowyard on one machine: `stack` starts and supervises it, `servers` bring Postgres and NATS. The CLI is above it."""
