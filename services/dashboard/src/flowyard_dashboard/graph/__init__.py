"""A workflow's graph as a picture: who comes after whom, in layers from top to bottom. Pure."""
