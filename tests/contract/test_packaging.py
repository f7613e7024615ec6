"""What is installed is what is tracked: a package that is missing from the wheel would be missed by its users alone.

The wheel is built from a copy of the tracked files, so that nothing else in the checkout can get in. The packages in
pyproject.toml are listed by hand; a new folder that nobody listed fails here. The slow tests are a stranger, who
installs that wheel, the examples and packages that `mailstack new` wrote, and works with them.
"""

import configparser
import os
import shutil
import signal
import smtplib
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import free_port

ROOT = Path(__file__).parents[2]
PLUGINS = ("middleware/", "handlers/")
OFFLINE = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore"}


def ran(*command: str | Path, cwd: Path) -> str:
    """Run a program to its end; its output. A failure shows what it said."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **OFFLINE}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The paths that git keeps, links as themselves."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout: what is tracked is not known")
    listed = ran("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", cwd=ROOT).split("\0")
    return [name for name in listed if name and os.path.lexists(ROOT / name)]


@pytest.fixture(scope="module")
def wheel(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made from the tracked files."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked:
        if not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    ran(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", target, source, cwd=target)
    [built] = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def installed_as(tracked: list[str]) -> Iterator[str]:
    """Where the tracked files of the packages belong in the wheel."""
    for name in tracked:
        if name.startswith(PLUGINS):
            yield f"mailstack/{name}"
        elif name.startswith("mailstack/") and not (ROOT / name).is_symlink():
            yield name


def test_the_wheel_has_the_tracked_files_and_no_others(names: list[str], tracked: list[str]) -> None:
    assert sorted(name for name in names if ".dist-info/" not in name) == sorted(installed_as(tracked))


def test_no_package_called_middleware_or_handlers_is_installed(names: list[str]) -> None:
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"mailstack"}


def test_types_and_licence_come_along(names: list[str]) -> None:
    assert "mailstack/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_every_bundled_plugin_is_announced_by_its_own_name(wheel: Path, names: list[str]) -> None:
    [file] = [name for name in names if name.endswith("/entry_points.txt")]
    announced = configparser.ConfigParser(delimiters=("=",))
    announced.read_string(zipfile.ZipFile(wheel).read(file).decode())
    assert announced["console_scripts"]["mailstack"] == "mailstack.cli:main"
    for group in ("middleware", "handlers"):
        modules = {path.stem for path in (ROOT / group).iterdir() if not path.name.startswith("_")}
        assert dict(announced[f"mailstack.{group}"]) == {name: f"mailstack.{group}.{name}" for name in modules}


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """With what it declares as its dependencies, no extra among them."""
    ran(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    bin = tmp_path / "venv/bin"
    ran(bin / "python", "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    shutil.copy2(ROOT / "conf/quickstart.py", tmp_path)
    version = wheel.name.split("-")[1]
    assert ran(bin / "mailstack", "--version", cwd=tmp_path) == f"mailstack, version {version}\n"
    assert {"maildir", "recipients"} <= {
        line.split()[0] for line in ran(bin / "mailstack", "plugins", cwd=tmp_path).splitlines()[1:]
    }
    assert "rcpt" in ran(bin / "mailstack", "check", "quickstart.py", cwd=tmp_path)
    for folder in ("middleware", "handlers"):
        ran(bin / "python", "-c", f"import mailstack.{folder}", cwd=tmp_path)
        with pytest.raises(AssertionError, match="No module named"):
            ran(bin / "python", "-c", f"import {folder}", cwd=tmp_path)


# A stranger, who writes plugins.

TOOLS = ("setuptools>=77", "pytest>=8.4", "mypy>=1.18", "ruff>=0.14")


@pytest.fixture(scope="module")
def stranger(wheel: Path, tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment in `venv`, and in `packages` what is installed there: the examples, and new ones."""
    folder = tmp_path_factory.mktemp("stranger")
    packages, bin = folder / "packages", folder / "venv/bin"
    for name in tracked:
        if name.startswith("examples/"):
            target = packages / name.removeprefix("examples/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    ran(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = (bin / "python", "-m", "pip", "install", "--quiet")
    ran(*pip, f"mailstack[trio,uvloop] @ {wheel.as_uri()}", *TOOLS, cwd=folder)
    ran(bin / "mailstack", "new", "middleware", "only_us", "--folder", packages, cwd=folder)
    ran(bin / "mailstack", "new", "handler", "keep_all", "--folder", packages, cwd=folder)
    for package in packages.iterdir():
        ran(*pip, "--no-deps", "--no-build-isolation", package, cwd=folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_package_with_a_plugin_passes_its_own_tests_and_checks(stranger: Path) -> None:
    bin = stranger / "venv/bin"
    packages = sorted((stranger / "packages").iterdir())
    assert {"mailstack-mtpriority", "mailstack-only-us", "mailstack-keep-all"} <= {each.name for each in packages}
    for package in packages:
        assert " passed" in ran(bin / "python", "-m", "pytest", "-q", cwd=package)
        ran(bin / "ruff", "check", cwd=package)
        ran(bin / "ruff", "format", "--check", cwd=package)
        ran(bin / "mypy", cwd=package)


EXTENDED = """
import mailstack

mtpriority, etrn, only_us = (mailstack.plugin(name) for name in ("mtpriority", "etrn", "only_us"))
server = mailstack.Server(
    mailstack.Stack(
        mtpriority.Priority(highest=4, profile="MIXER"),
        etrn.Etrn(["true"], ["branch.example.org"]),
        only_us.OnlyUs("example.com"),
        mailstack.plugin("recipients").Domains("example.org"),
        mailstack.plugin("keep_all").KeepAll("mail"),
    ),
    listeners=[mailstack.Listener("127.0.0.1:{port}")],
    hostname="mx.example.org",
)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_installed_plugins_add_smtp_extensions_to_a_served_stack(stranger: Path, tmp_path: Path) -> None:
    bin = stranger / "venv/bin"
    assert "RFC 6710" in ran(bin / "mailstack", "plugins", "mtpriority", cwd=tmp_path)
    port = free_port()
    (tmp_path / "mx.py").write_text(EXTENDED.replace("{port}", str(port)))
    (tmp_path / "mail").mkdir()
    assert ran(bin / "mailstack", "check", "mx.py", cwd=tmp_path).endswith("fine\n")
    server = subprocess.Popen([bin / "mailstack", "serve", "mx.py"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        with connected(port) as client:
            client.ehlo("client.example.net")
            assert client.esmtp_features["mt-priority"] == "MIXER"
            assert "etrn" in client.esmtp_features
            assert "ETRN" in client.help().decode().split()
            assert client.docmd("ETRN", "branch.example.org")[0] == 250
            assert client.docmd("ETRN", "elsewhere.example.org")[0] == 459
            assert client.mail("eve@example.com")[0] == 550
            assert client.mail("ann@example.net", ["MT-PRIORITY=urgent"])[0] == 501
            assert client.mail("ann@example.net", ["MT-PRIORITY=9"]) == (250, b"2.3.6 4 is the priority now")
            assert client.rcpt("bob@example.org")[0] == 250
            assert client.data("Subject: urgent\r\n\r\nhello\r\n")[0] == 250
    finally:
        server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
    [file] = (tmp_path / "mail").iterdir()
    assert b"MT-Priority: 4\r\n" in file.read_bytes()


def connected(port: int) -> smtplib.SMTP:
    """smtplib, as soon as the server listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return smtplib.SMTP("127.0.0.1", port, timeout=30)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the server did not listen within 30 s"
            time.sleep(0.05)
