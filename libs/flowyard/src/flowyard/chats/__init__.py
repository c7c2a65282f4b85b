"""Messages to chats: where a reply goes, how long it may be, how it is sent, and what the answer says. Pure.

A file per platform; its door is `platforms`.
"""
