"""The ends of the stack that ship with mailstack: one file, one queue handler."""
