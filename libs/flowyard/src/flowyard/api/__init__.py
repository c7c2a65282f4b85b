"""What services say over HTTP: the shapes of requests and answers, a module per noun.

Requests forbid unknown keys, so that a typo is told. Answers may gain keys: who reads them ignores what is new.
"""
