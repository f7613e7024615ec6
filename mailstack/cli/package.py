"""The files of the pip package that `mailstack new` writes, as templates.

$name is the plugin's name everywhere, $made its class, $module its module, $dist its distribution, $kind "middleware"
or "handlers". A test installs what comes out with pip, and runs its tests, ruff and mypy.
"""

from __future__ import annotations

__all__ = ["HANDLER", "MIDDLEWARE", "WORDS"]

# Names that the templates import: a plugin's class is none of these.
WORDS = frozenset({"Check", "ConfigError", "Dialog", "Message", "Path", "Reply", "Sender", "Stack", "Vouch"})

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$dist"
version = "0.1.0"
description = "The plugin $name for mailstack."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["mailstack>=$version"]

# How it is found: mailstack.plugin("$name"). The module's __all__ is what a configuration makes of it.
[project.entry-points."mailstack.$kind"]
$name = "$module"

[dependency-groups]
dev = ["mailstack[trio,uvloop]", "mypy>=1.18", "pytest>=8.4", "ruff>=0.14"]

[tool.setuptools.package-data]
$module = ["py.typed"]

[tool.pytest.ini_options]
addopts = ["--import-mode=importlib", "-p", "no:cacheprovider"]
anyio_mode = "auto"
filterwarnings = ["error"]
testpaths = ["tests"]

[tool.mypy]
files = ["src", "tests"]
strict = true

[tool.ruff]
line-length = 120
target-version = "py311"

[tool.ruff.lint]
select = ["E", "F", "W", "I", "UP", "B", "RUF", "ASYNC"]

[tool.ruff.lint.per-file-ignores]
"tests/*" = ["ASYNC240"]
"""

README = """\
# $dist

$name, a plugin for [mailstack](https://pypi.org/project/mailstack/).

    pip install $dist

```python
import mailstack

$name = mailstack.plugin("$name")
server = mailstack.Server(
    mailstack.Stack(
        $name.$made("$option"),
        ...,
    ),
)
```

`mailstack plugins $name` prints its manual.

## Working on it

    python3 -m venv .venv
    .venv/bin/pip install --upgrade "pip>=25.1"        # older ones know no --group
    .venv/bin/pip install --editable /path/to/mailstack        # if you have a checkout of it
    .venv/bin/pip install --editable . --group dev
    .venv/bin/pytest
    .venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/mypy

## Publishing it

Set the version in pyproject.toml, then

    pip install build twine
    python -m build
    twine upload dist/*
"""

GITIGNORE = """\
.venv/
__pycache__/
*.egg-info/
build/
dist/
.mypy_cache/
.ruff_cache/
"""

CONFTEST = '''\
"""Each async test runs on asyncio, uvloop and trio."""

import pytest

BACKENDS = [("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})]


@pytest.fixture(params=BACKENDS, ids=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param
'''

MIDDLEWARE_MODULE = '''\
"""$name: refuse senders from some domains.

    $name.$made("example.com")

The domains are compared whole: sub.example.com is another one. Bounces have no sender and pass.
The answer is 550 5.7.1 to MAIL.
"""

from mailstack import Reply, Sender, hookimpl, option

__all__ = ["$made"]


class $made:
    """domains -- whose senders are refused. ConfigError for what is no domain."""

    name = "$name"
    rehearsable = True

    def __init__(self, *domains: str) -> None:
        self.domains = frozenset(option.domain(each, name="$made") for each in domains)

    @hookimpl
    def mail(self, sender: Sender) -> Reply | None:
        if sender.address.domain in self.domains:
            return Reply(550, "we take no mail from there", status="5.7.1")
        return None
'''

MIDDLEWARE_TESTS = '''\
"""What it refuses, what it lets pass, and what every plugin must survive."""

import mailstack
import pytest
from mailstack import ConfigError
from mailstack.testing import Dialog, Vouch
from mailstack.testing.contract import CONTRACT_CHECKS, Check

from $module import $made


async def test_a_sender_from_there_is_refused_and_others_pass() -> None:
    async with Dialog($made("example.com"), Vouch()) as smtp:
        assert await smtp.message("eve@EXAMPLE.com", "bob@example.net") == 550
        assert await smtp.message("ann@example.org", "bob@example.net") == 250
        assert await smtp.message("", "bob@example.net") == 250
        refused_by = [finding.who for finding in smtp.evidence if finding.outcome == "refused"]
        assert refused_by == ["$name"]


async def test_a_rehearsal_asks_it_too() -> None:
    async with Dialog($made("example.com"), Vouch(), rehearsal=True) as smtp:
        assert await smtp.message("eve@example.com", "bob@example.net") == 550


def test_what_is_no_domain_is_told_at_the_start() -> None:
    with pytest.raises(ConfigError):
        $made("not a domain")


def test_it_is_found_by_its_name() -> None:
    found = mailstack.plugin("$name")
    assert found.$made is $made


@pytest.mark.parametrize("check", CONTRACT_CHECKS, ids=lambda check: check.__name__)
async def test_it_keeps_the_contract(check: Check) -> None:
    await check(lambda: $made("example.com"))
'''

HANDLER_MODULE = '''\
"""$name: each message becomes a file of a folder.

    $name.$made("./mail")

The folder must be there. A file is called like the message in the log, with ".eml" behind; it is complete and on the
disk when the client hears 250. What cannot be written is 451, and no file stays behind.
"""

import os
from pathlib import Path

from anyio import to_thread
from mailstack import Message, Reply, hookimpl

__all__ = ["$made"]


class $made:
    """folder -- where the files lie."""

    name = "$name"

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    @hookimpl
    async def queue(self, message: Message) -> Reply:
        await to_thread.run_sync(self._write, message)
        return Reply(250, f"queued as {message.id}")

    def _write(self, message: Message) -> None:
        part = self.folder / f"{message.id}.part"
        try:
            with part.open("xb") as file:
                file.writelines(message.blocks())
                file.flush()
                os.fsync(file.fileno())
            part.rename(part.with_suffix(".eml"))
        finally:
            part.unlink(missing_ok=True)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
'''

HANDLER_TESTS = '''\
"""What lies in the folder, and what every plugin must survive."""

from pathlib import Path

import mailstack
import pytest
from mailstack import Stack
from mailstack.testing import Dialog, Vouch
from mailstack.testing.contract import CONTRACT_CHECKS, Check

from $module import $made


async def test_a_message_is_a_file_when_the_client_hears_250(tmp_path: Path) -> None:
    async with Dialog(Vouch(), $made(tmp_path), handler=None) as smtp:
        assert await smtp.message("ann@example.org", "bob@example.net", "Subject: hi\\n\\nhello\\n") == 250
        [file] = tmp_path.iterdir()
        assert file.suffix == ".eml"
        assert file.read_bytes().endswith(b"Subject: hi\\r\\n\\r\\nhello\\r\\n")


async def test_what_cannot_be_written_stays_with_the_client(tmp_path: Path) -> None:
    async with Dialog(Vouch(), $made(tmp_path / "nowhere"), handler=None) as smtp:
        assert await smtp.message("ann@example.org", "bob@example.net") == 451


async def test_a_rehearsal_writes_nothing(tmp_path: Path) -> None:
    async with Dialog(Vouch(), $made(tmp_path), handler=None, rehearsal=True) as smtp:
        assert await smtp.message("ann@example.org", "bob@example.net") == 250
    assert not list(tmp_path.iterdir())


def test_it_is_found_by_its_name() -> None:
    found = mailstack.plugin("$name")
    assert found.$made is $made


def vouched(*handlers: object) -> Stack:
    return Stack(Vouch(), *handlers)


@pytest.mark.parametrize("check", CONTRACT_CHECKS, ids=lambda check: check.__name__)
async def test_it_keeps_the_contract(check: Check, tmp_path: Path) -> None:
    await check(lambda: $made(tmp_path), vouched, handler=None)
'''

COMMON = {
    "pyproject.toml": PYPROJECT,
    "README.md": README,
    ".gitignore": GITIGNORE,
    "src/$module/py.typed": "",
    "tests/conftest.py": CONFTEST,
}
MIDDLEWARE = {**COMMON, "src/$module/__init__.py": MIDDLEWARE_MODULE, "tests/test_$name.py": MIDDLEWARE_TESTS}
HANDLER = {**COMMON, "src/$module/__init__.py": HANDLER_MODULE, "tests/test_$name.py": HANDLER_TESTS}
