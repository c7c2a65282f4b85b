"""`flowyard ask`: gathers the facts about a run by the API, has a workflow answer from them, and names the sources.

`facts` is the door to what is gathered, `subject` says of which run, `preparing` has the workflow.
"""
