"""authpam over a PAM in memory: what its numbers mean. libpam itself: tests/interop."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from mailstack import extra
from mailstack.middleware.authpam import PAM
from mailstack.option import ConfigError
from tests.middleware.providers.logins import asked, judged, logged


class Module:
    """What python-pam is, as far as it is used."""

    def __init__(self) -> None:
        self.code = 0
        self.wait: Callable[[], object] = lambda: None
        self.heard: list[tuple[Any, ...]] = []
        self.PamAuthenticator = lambda: Talk(self)


class Talk:
    def __init__(self, module: Module) -> None:
        self.module = module
        self.code = 0
        self.reason: object = "Success"

    def pam_authenticate(self, handle: object, flags: int) -> int:
        self.module.heard.append(("authenticate", flags))
        self.module.wait()
        return 0

    def pam_acct_mgmt(self, handle: object, flags: int) -> int:
        self.module.heard.append(("account", flags))
        return self.module.code

    def pam_set_item(self, handle: object, item: int, value: Any) -> int:
        self.module.heard.append(("item", item, value.value))
        return 0

    def authenticate(self, user: str, password: str, *, service: str, resetcreds: bool) -> bool:
        assert not resetcreds
        self.module.heard.append((service, user, password))
        self.code = self.pam_authenticate(None, 0) or self.pam_acct_mgmt(None, 0)
        self.reason = f"reason {self.code}"
        return self.code == 0


@pytest.fixture
def pam(monkeypatch: pytest.MonkeyPatch) -> Module:
    module = Module()
    monkeypatch.setattr(extra, "require", lambda name, of: module)
    return module


async def test_pam_hears_service_name_password_and_the_client_s_address(pam: Module) -> None:
    assert await judged(PAM("submission"), "ann", "ri'ght") == (235, "ann")
    assert pam.heard == [
        ("submission", "ann", "ri'ght"),
        ("item", 4, b"192.0.2.1"),
        ("authenticate", 0x8001),
        ("account", 0x8001),
    ]


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        (0, 235),
        (7, None),
        (10, None),
        (6, 535),
        (11, 535),
        (12, 535),
        (13, 535),
        (27, 535),
        (4, 454),
        (9, 454),
        (28, 454),
    ],
)
async def test_what_pam_says_means(pam: Module, code: int, reply: int | None) -> None:
    pam.code = code
    with logged() as stream:
        assert await asked(PAM(), "ann", "se-cret") == reply
    assert ("PAM says reason" in stream.getvalue()) == (reply == 454)
    assert "se-cret" not in stream.getvalue()


@pytest.mark.parametrize("password", ["", "a\0b", "x" * 512, "ü" * 256])
async def test_pam_is_not_asked_about_what_can_be_no_password(pam: Module, password: str) -> None:
    assert await asked(PAM(), "ann", password) is None
    assert pam.heard == []


async def test_one_that_hangs_is_454_and_when_all_hang_nobody_waits(pam: Module) -> None:
    released = Event()
    pam.wait = released.wait
    try:
        provider = PAM(threads=1, timeout=0.2)
        assert await asked(provider, "ann", "right") == 454
        assert await asked(provider, "ann", "right") == 454
    finally:
        released.set()


@pytest.mark.parametrize(
    "options", [{"service": "../shadow"}, {"service": ""}, {"service": "a\nb"}, {"threads": 5}, {"threads": 0}]
)
def test_options_that_make_no_sense_are_refused(pam: Module, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        PAM(**options)


async def test_the_log_warns_of_a_service_that_is_not_there(pam: Module) -> None:
    with logged() as stream:
        assert await asked(PAM("mailstack-nowhere"), "ann", "right") == 235
    assert "PAM takes /etc/pam.d/other" in stream.getvalue()


def test_a_machine_without_libpam_is_told_so(pam: Module) -> None:
    def fail() -> None:
        raise TypeError("find_library found nothing")

    pam.PamAuthenticator = fail  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="libpam"):
        PAM()
