"""Loopback servers that speak the providers' real formats: `async with openai_server([Text("hi")]) as server: …`."""
