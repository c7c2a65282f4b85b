"""Conversations with chat workflows in the terminal. `conversation` is the door; `prompt` reads what is typed."""
