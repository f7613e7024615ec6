"""python -m tests.fuzz.wire [--seconds 60]: the protocol without I/O."""

from .engine import run

if __name__ == "__main__":
    run("wire", "protocol")
