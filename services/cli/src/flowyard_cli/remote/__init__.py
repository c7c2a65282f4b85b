"""The command line at a running stack: where it is, what is asked of it, and how its answers are shown.

`stack.at_the_stack` is the door: commands go through it, and it tells what went wrong.
"""
