"""Postgres: the schema, its migrations, and one store per noun. The only room that knows SQL.

The doors are `database` (connect), `schema` (migrate, check) and the stores.
"""
