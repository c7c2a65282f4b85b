"""What commands for a running stack share: its address and key, its runs, and the report of errors.

`stack.at_the_stack` is the door: it connects a command to the stack and prints what went wrong.
"""
