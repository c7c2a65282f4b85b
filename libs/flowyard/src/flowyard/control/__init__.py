"""What is done with runs from outside: submit, cancel, retry, fork, follow. For services that people talk to.

The doors are `parts.make_control`, one module per verb, and `live` for what happens meanwhile.
"""
