"""The dashboard: pages with workflows and runs, live in a browser. It starts in `main`; `app` has the routes."""
