"""Webhooks: verifies those that come in, and signs those that go out, over their raw bytes. Pure. Start at `schemes`.

A scheme is the way in which a sender proves who it is. Each has a file, with a class that verifies and reads its
requests, and a function that signs them; `signing` has all these functions.
"""
