"""One claimed run, from its claim to its end: attempt, journal, writer. The door is `attempt`."""
