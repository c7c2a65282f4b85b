"""Tells other systems of finished runs, from Postgres and behind their backs: no run waits for it.

`exporter` is the loop, `told` what is read of a run, `spans` what becomes of it (pure), `otlp` and `mlflow` whom it is
told to. The only room that knows OpenTelemetry; MLflow is spoken to over HTTP and never imported.
"""
