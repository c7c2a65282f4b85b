"""Exports finished runs to other systems: asynchronously, from Postgres; no run waits for it.

`exporter` is the loop, `finished_run` reads a run, `spans` turns it into a trace (pure), `otlp` and `mlflow` send it.
The only room that imports OpenTelemetry; MLflow is called over HTTP and never imported.
"""
