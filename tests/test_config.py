"""Configurations: each mistake is told with file, line and remedy."""

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mailstack
from mailstack import ConfigError, Server, config

BROKEN = Path(__file__).parent / "broken"
EXPECT = re.compile(r"# expect: (?:(?P<file>\S+):)?(?P<line>\d+|-): (?P<text>.*?)(?: -> (?P<remedy>.*))?\n")


def load_and_check(source: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config.load(source).check()
    return caught.value


@pytest.mark.parametrize("path", sorted(BROKEN.glob("*.py")), ids=lambda path: path.stem)
def test_a_mistake_is_told_with_file_line_and_remedy(path: Path) -> None:
    match = EXPECT.match(path.read_text())
    assert match is not None
    error = load_and_check(str(path))
    assert match["text"] in error.message
    assert (match["remedy"] or "") in error.remedy
    assert error.remedy
    assert error.file == str(BROKEN / match["file"] if match["file"] else path)
    assert error.line == (None if match["line"] == "-" else int(match["line"]))


# Where a configuration is found ------------------------------------------------------------------------------------

GOOD = """
from mailstack import Server, Stack
from mailstack.handlers import discard

server = mx = Server(Stack(discard.Discard()), hostname="mx.example.org")
other = Server(Stack(discard.Discard()), hostname="other.example.org")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a configuration in it; what other tests imported from theirs is forgotten."""
    (tmp_path / "good.py").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    for name in ("good", "sibling", "edge", "edge.mail", "edge_module"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "hostname"),
    [
        ("good.py", "mx.example.org"),
        ("./good.py", "mx.example.org"),
        ("good.py:mx", "mx.example.org"),
        ("good.py:other", "other.example.org"),
        ("good", "mx.example.org"),
        ("good:other", "other.example.org"),
    ],
)
def test_a_server_is_found_in_a_file_or_a_module(folder: Path, source: str, hostname: str) -> None:
    assert config.load(source).hostname == hostname


def test_a_module_in_a_package_is_found(folder: Path) -> None:
    (folder / "edge").mkdir()
    (folder / "edge" / "__init__.py").touch()
    (folder / "edge" / "mail.py").write_text(GOOD)
    assert config.load("edge.mail:other").hostname == "other.example.org"
    assert load_and_check("edge.mail:nobody").remedy == 'name it: "edge.mail:server"'


def test_a_configuration_imports_from_its_own_folder_and_leaves_the_path_as_it_was(folder: Path) -> None:
    below = folder / "below"
    below.mkdir()
    (below / "sibling.py").write_text(GOOD)
    (below / "mx.py").write_text("from sibling import server\nimport sys\nassert __name__ in sys.modules\n")
    before = list(sys.path)
    assert isinstance(config.load("below/mx.py"), Server)
    assert sys.path == before


def test_a_configuration_that_fails_leaves_no_module_behind(folder: Path) -> None:
    (folder / "bad.py").write_text("1 / 0\n")
    error = load_and_check("bad.py")
    assert (error.file, error.line, error.message) == ("bad.py", 1, "ZeroDivisionError: division by zero")
    assert not [name for name in sys.modules if name.startswith("conf_bad")]


def test_a_file_is_read_anew_each_time(folder: Path) -> None:
    assert config.load("good.py").hostname == "mx.example.org"
    (folder / "good.py").write_text(GOOD.replace("mx.example.org", "new.example.org"))
    assert config.load("good.py").hostname == "new.example.org"


@pytest.mark.parametrize(
    ("source", "message", "remedy"),
    [
        ("goood.py", "there is no such file", "did you mean good.py?"),
        ("nowhere/mx.py", "there is no such file", "look for it with `ls nowhere`"),
        ("folder.py", "the file cannot be read: Is a directory", "name a Python file"),
        ("no_such_module", "there is no module no_such_module", "install it"),
        ("no_such.module:server", "there is no module no_such.module", "install it"),
        ("mx-edge", "'mx-edge' is neither a file nor a module", 'write "conf/mx.py"'),
        ("latin.py", "(unicode error)", "save the file as Python in UTF-8"),
        ("nul.py", "null bytes", "save the file as Python in UTF-8"),
    ],
)
def test_a_source_that_is_none_is_told_with_a_remedy(folder: Path, source: str, message: str, remedy: str) -> None:
    (folder / "folder.py").mkdir()
    (folder / "latin.py").write_bytes(b'name = "caf\xe9"\n')
    (folder / "nul.py").write_bytes(b"server\0\n")
    error = load_and_check(source)
    assert message in error.message
    assert remedy in error.remedy


def test_an_error_below_the_configuration_is_told_at_the_line_that_led_there(folder: Path) -> None:
    (folder / "sibling.py").write_text("def domain():\n    return {}['domain']\n")
    (folder / "mx.py").write_text("import sibling\n\nname = sibling.domain()\n")
    error = load_and_check("mx.py")
    assert (error.file, error.line) == ("mx.py", 3)
    assert error.message == f"KeyError: 'domain' (raised at {folder}/sibling.py:2)"


def test_an_error_of_an_importable_configuration_is_told_at_its_line(folder: Path) -> None:
    (folder / "edge_module.py").write_text("from mailstack import Limits\n\nlimits = Limits(idle='soon')\n")
    error = load_and_check("edge_module:server")
    assert (error.file, error.line) == (str(folder / "edge_module.py"), 3)
    assert "Limits(idle)" in error.message


def test_a_method_of_the_application_may_be_the_handler(folder: Path) -> None:
    (folder / "mx.py").write_text(
        "from mailstack import Server, Stack\n"
        "class App:\n    async def receive(self, message): ...\n"
        "server = Server(Stack(App().receive))\n"
    )
    (entry,) = config.load("mx.py").check().entries
    assert (entry.name, list(entry.impls)) == ("receive", ["queue"])


def test_what_ctrl_c_raises_is_no_mistake_of_the_configuration(folder: Path) -> None:
    (folder / "mx.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        config.load("mx.py")


# The package's front -----------------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_no_other() -> None:
    for name in mailstack.__all__:
        assert getattr(mailstack, name) is not None
    assert set(mailstack.__all__) <= set(dir(mailstack))
    with pytest.raises(AttributeError, match="no attribute 'Sevrer'"):
        mailstack.Sevrer  # type: ignore[attr-defined]
    assert mailstack.__version__ == metadata.version("mailstack")


def test_what_type_checkers_see_is_what_is_imported() -> None:
    import ast

    tree = ast.parse(Path(mailstack.__file__).read_text())
    imported = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    modules = {name: module.rpartition(".")[0] or None for name, module in mailstack._MODULES.items()}  # type: ignore[attr-defined]
    assert imported == mailstack._HOME | modules  # type: ignore[attr-defined]
    assert set(imported) == set(mailstack.__all__)
