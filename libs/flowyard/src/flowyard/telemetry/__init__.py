"""Logs and metrics: the only room that imports prometheus_client. Use `logs` and `metrics`."""
