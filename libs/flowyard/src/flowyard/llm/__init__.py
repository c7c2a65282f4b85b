"""Talking to models: the only room that knows litellm and xllamacpp. The door is `models`; shapes are in `calls`."""
