"""What services say over HTTP: the shapes of requests and answers, a module per noun.

Requests forbid unknown keys, so that a typo is an error. Answers may gain keys: readers ignore unknown ones.
"""
