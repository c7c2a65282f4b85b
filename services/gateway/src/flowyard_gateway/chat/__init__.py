"""Workflows as models of OpenAI's chat API and of Open Responses: their routes, conversations, and answers. Start at
`routes` and `response_routes`.
"""
