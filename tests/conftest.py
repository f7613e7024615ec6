"""What every test shares: on which backends it runs (see backends.py); and none asks the DNS of the machine."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from mailstack.services.resolver import servers
from tests.backends import dealt

# Tests may run as root, in a container; the servers that they start as processes then do so too.
os.environ.setdefault("MAILSTACK_AS_ROOT", "1")

# Nothing asserts how long an example takes: a machine that is busy is no failure. `make fuzz` and CI say so themselves.
settings.register_profile("patient", deadline=None)
if settings().deadline is not None:
    settings.load_profile("patient")

BACKENDS = [("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})]


@pytest.fixture(params=BACKENDS, ids=["asyncio", "uvloop", "trio"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = list(dealt(items))
    if left := set(items).difference(kept):
        config.hook.pytest_deselected(items=[item for item in items if item in left])
    items[:] = kept


@pytest.fixture(autouse=True, scope="session")
def no_name_servers() -> Iterator[None]:
    """A resolver that was given no name servers has none: what a test asks, it must answer itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "RESOLV_CONF", "/nonexistent/resolv.conf")
        yield
