"""python -m tests.fuzz.connection [--seconds 60]: a whole server, over streams in memory."""

from .engine import run

if __name__ == "__main__":
    run("connection", "session")
