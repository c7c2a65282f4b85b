"""What callers do with runs: submit, cancel, retry, fork, follow; and how a run that was moved is announced.

The doors are `parts.make_control`, one module per verb, and `live` for following runs as they go on.
"""
