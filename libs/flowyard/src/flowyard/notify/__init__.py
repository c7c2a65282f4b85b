"""Sends notifications of runs that have ended to their receivers, by webhooks. Its door is `sender`."""
