"""The gateway: the public HTTP API of Flowyard. It starts in `main`."""
