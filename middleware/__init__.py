"""Middleware that ships with mailstack: one file, one middleware, its docstring the manual."""
