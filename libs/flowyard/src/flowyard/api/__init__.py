"""The HTTP API: the shapes of requests and responses, a module per noun, and a client.

Requests forbid unknown keys, so that a typo is an error. Responses may gain keys, which older clients ignore.
"""
