"""Postgres: the schema, its migrations, and one store per noun. The only room that knows SQL.

Begin with `database` (connect) and `schema` (migrate, check). Each store's docstring says what it answers.
"""
