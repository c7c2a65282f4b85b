"""HTTP requests to addresses that others chose: webhooks, tools. The door is `client`, the rules are in `addresses`.

Model calls have a door of their own in `llm/`. They share with this room how proxies are chosen (`proxies`), and how
answers that can't be read are noticed and explained (`broken_chunks`, `lost_answers`).
"""
