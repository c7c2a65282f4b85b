"""The public door of Flowyard: the HTTP API. The door is `main`."""
