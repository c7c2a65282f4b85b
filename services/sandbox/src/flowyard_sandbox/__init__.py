"""Executes code that models and strangers have written, in processes that can't do anything else.

`pool.py` is the door: it keeps worker processes ready, gives each one job at a time, and replaces those that die.
A worker (`worker.py`) confines itself by `confine.py` and executes code by one tier: `fast.py` or `full.py`.
"""
