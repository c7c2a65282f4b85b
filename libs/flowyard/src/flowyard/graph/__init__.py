"""Workflow → LangGraph → run: the only room that knows langgraph. The doors are `compile` and `run`."""
