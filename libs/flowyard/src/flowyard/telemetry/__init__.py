"""Logs and metrics: the only room that knows prometheus_client. The doors are `logs` and `metrics`."""
