"""Fixtures that every test shares: each async test runs on asyncio, uvloop and trio."""

import os

import pytest

# Tests may run as root, in a container; the servers that they start as processes then do so too.
os.environ.setdefault("MAILSTACK_AS_ROOT", "1")

BACKENDS = [("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})]


@pytest.fixture(params=BACKENDS, ids=["asyncio", "uvloop", "trio"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param
