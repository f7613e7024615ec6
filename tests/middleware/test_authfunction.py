"""A function judges logins, or tells what is stored."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mailstack.middleware.authfunction import Function, Stored
from mailstack.option import ConfigError
from mailstack.services import passwords
from mailstack.services.passwords import threads
from mailstack.testing import Dialog
from tests.middleware.auth.users import begin, open_auth, plain, scram

SSHA = passwords.make("SSHA512", "right")


async def answer(entry: object, user: str = "ann", password: str = "right") -> tuple[int, str | None]:
    async with Dialog(open_auth(), entry) as smtp:
        await begin(smtp)
        code = (await smtp.say(f"AUTH PLAIN {plain(user, password)}")).code
        return code, smtp.session.user


@pytest.mark.parametrize(
    ("said", "code", "user"),
    [
        (True, 235, "ann"),
        ("ann@example.org", 235, "ann@example.org"),
        (False, 535, None),
        (None, 535, None),
        ("", 454, None),
        (1, 454, None),
        ({"ann": 1}, 454, None),
    ],
)
async def test_what_the_function_says(said: Any, code: int, user: str | None) -> None:
    heard: list[tuple[str, str]] = []

    def check(name: str, password: str) -> Any:
        heard.append((name, password))
        return said

    async def asked(name: str, password: str) -> Any:
        return check(name, password)

    for entry in (Function(check), Function(asked), Function(check, threads=1)):
        found, session_user = await answer(entry)
        assert found == code
        assert session_user == user
    assert heard == [("ann", "right")] * 3


async def test_a_function_that_raises_is_454_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def check(name: str, password: str) -> bool:
        raise KeyError("no such table")

    assert await answer(Function(check), password="my-secret") == (454, None)
    assert "my-secret" not in caplog.text


async def test_in_threads_means_in_threads_and_one_that_hangs_is_454() -> None:
    gate = threading.Event()
    seen: list[str] = []

    def check(name: str, password: str) -> bool:
        seen.append(threading.current_thread().name)
        return gate.wait(30)

    assert await answer(Function(check, threads=1, timeout=0.05)) == (454, None)
    gate.set()
    assert seen != [threading.current_thread().name]


async def test_an_unknown_user_costs_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    original = threads._matches

    async def counted(stored: passwords.Stored, password: str) -> bool:
        compared.append(stored.scheme)
        return await original(stored, password)

    monkeypatch.setattr(threads, "_matches", counted)
    assert await answer(Function(lambda user, password: None, like=SSHA)) == (535, None)
    assert compared == ["SSHA512"]
    assert await answer(Function(lambda user, password: None)) == (535, None)
    assert compared == ["SSHA512"]


KEYS = passwords.make_keys("SHA-256", "right", b"salt" * 4, 4096)


@pytest.mark.parametrize(
    ("stored", "right"),
    [
        (SSHA, 235),
        ("{PLAIN}right", 235),
        (KEYS, 235),
        ([SSHA, KEYS], 235),
        (("{PLAIN}other", "{PLAIN}right"), 235),
        (None, 535),
        ("!", 535),
        ([], 535),
        ("right", 454),
        (7, 454),
        ([7], 454),
    ],
)
async def test_what_is_stored_of_a_user(stored: Any, right: int) -> None:
    async def find(user: str) -> Any:
        return stored

    assert (await answer(Stored(find)))[0] == right
    assert (await answer(Stored(lambda user: stored, threads=1), password="wrong"))[0] == (454 if right == 454 else 535)


async def test_scram_with_what_is_stored() -> None:
    users: dict[str, Any] = {"ann": [SSHA, KEYS], "bob": "{PLAIN}right"}
    entry = Stored(lambda user: users.get(user), offer=("SCRAM-SHA-256",))
    for user, password, code in (("ann", "right", 235), ("bob", "right", 235), ("ann", "x", 535), ("eve", "x", 535)):
        async with Dialog(open_auth(), entry) as smtp:
            await begin(smtp)
            assert await scram(smtp, "SCRAM-SHA-256", user, password) == code


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Function("check"), "no function"),  # type: ignore[arg-type]
        (lambda: Function(lambda user, password: True, threads=-1), "out of range"),
        (lambda: Function(lambda user, password: True, like="secret"), "no hash"),
        (lambda: Stored(lambda user: None, offer="GSSAPI"), "not known"),
    ],
)
def test_mistakes_are_told_at_once(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_an_async_function_in_threads_is_a_mistake() -> None:
    async def check(user: str, password: str) -> bool:
        return True

    with pytest.raises(ConfigError, match="async"):
        Function(check, threads=2)
