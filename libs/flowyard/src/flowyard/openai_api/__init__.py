"""The wire formats of OpenAI's chat API and of Open Responses, and what their clients mean by them. Pure: `replies` is
the door to the one, `responses` to the other.

Formats: https://platform.openai.com/docs/api-reference/chat and https://www.openresponses.org/specification
"""
