"""What every HTTP service needs, and the only room of the library that knows FastAPI and uvicorn.

`app` makes an application, `process` and `serve` run it, `auth` checks the keys of its routes, `sse` streams events,
`problems` documents errors.
"""
