"""Plugins by name: installed ones, those in a folder, and what is told of one that cannot be used."""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import mailstack
from mailstack import ConfigError, config, extra, log, plugins
from mailstack.testing import Dialog


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What a test imports is forgotten after it."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refused(*arguments: str, **options: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        mailstack.plugin(*arguments, **options)
    return caught.value


def load_and_check(source: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config.load(str(source)).check()
    return caught.value


# Installed ones.


def test_every_bundled_plugin_can_be_imported_and_says_what_it_makes() -> None:
    found = {info.name: info for info in plugins.plugins() if info.distribution == "mailstack"}
    assert {"recipients", "maildir", "discard"} <= set(found)
    for info in found.values():
        assert not info.error
        assert info.summary
        assert info.factories
        assert info.module == f"mailstack.{info.kind}.{info.name}"
    maildir = found["maildir"]
    assert (maildir.kind, maildir.version) == ("handlers", metadata.version("mailstack"))
    assert [(made.name, "queue" in made.hooks) for made in maildir.factories] == [("Maildir", True)]
    [factory] = maildir.factories
    assert factory.signature.startswith("(path: str | os.PathLike[str]")
    assert plugins.Option("eol", "str", "'lf'") in factory.options
    assert factory.manual.startswith("The handler.")


def test_a_plugin_is_had_by_its_name() -> None:
    assert mailstack.plugin("discard").Discard is sys.modules["mailstack.handlers.discard"].Discard


def test_a_name_that_is_not_there_is_told_with_the_closest_one() -> None:
    error = refused("subjectag")
    assert (error.message, error.remedy) == ("there is no plugin 'subjectag'", "did you mean subjecttag?")
    assert refused("zzz").remedy == "`mailstack plugins` lists what is installed"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution with plugins of its own and extras."""
    facts = tmp_path / "mailstack_ldapper-2.5.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mailstack-ldapper\nVersion: 2.5\n"
        "Requires-Dist: anyio>=4\nRequires-Dist: python-ldapthing>=3; extra == 'ldap'\nProvides-Extra: ldap\n"
        "Requires-Dist: anyio>=4; extra == 'here'\nProvides-Extra: here\n"
    )
    (facts / "entry_points.txt").write_text(
        "[mailstack.middleware]\nldapper = ldapper\nneeder = needer\nbroken = broken_plugin\ndiscard = ldapper\n"
        "liar = liar\nsilent = silent\nobject = ldapper:LDAP\nasks = asks\ntypo = typo\n"
    )
    (tmp_path / "ldapper.py").write_text(
        '"""ldapper: asks."""\nfrom mailstack import hookimpl\n__all__ = ["LDAP", "ldap", "WORDS"]\nWORDS = 1\n'
        'EXTRAS = ("ldap", "here")\n'
        "class LDAP:\n"
        "    def __init__(self, url: 'str', *more, wait=1.0, **other): import ldapthing\n"
        "    @hookimpl\n    def rcpt(self, recipient): ...\n"
        "def ldap(url): return LDAP(url)\n"
    )
    (tmp_path / "needer.py").write_text("import ldapthing\n")
    (tmp_path / "broken_plugin.py").write_text("\n1 / 0\n")
    (tmp_path / "liar.py").write_text("class Something: ...\n__all__ = ['Somethin']\n")
    (tmp_path / "silent.py").write_text("class Something: ...\n")
    (tmp_path / "asks.py").write_text("from mailstack import extra\nextra.require('ldapthing', 'x[y]')\n")
    (tmp_path / "typo.py").write_text("def x(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_plugin_of_another_distribution_is_listed_like_a_bundled_one(package: Path) -> None:
    info = next(info for info in plugins.plugins() if info.name == "ldapper")
    assert (info.distribution, info.version, info.summary) == ("mailstack-ldapper", "2.5", "ldapper: asks.")
    assert [(made.name, made.signature, made.hooks) for made in info.factories] == [
        ("LDAP", "(url: str, *more, wait=1.0, **other)", ("rcpt",)),
        ("ldap", "(url)", ()),
    ]
    assert [(each.name, each.type, each.default) for each in info.factories[0].options] == [
        ("url", "str", ""),
        ("*more", "", ""),
        ("wait", "", "1.0"),
        ("**other", "", ""),
    ]
    assert info.missing == ("mailstack-ldapper[ldap]",)


def test_plugins_that_cannot_be_used_are_listed_with_the_reason(package: Path) -> None:
    errors = {info.name: info.error for info in plugins.plugins() if info.error}
    assert set(errors) == {"needer", "broken", "liar", "silent", "object", "asks", "typo"}
    assert f"ZeroDivisionError: division by zero (raised at {package}/broken_plugin.py:2)" in errors["broken"]
    assert errors["needer"].endswith('remedy: pip install "mailstack-ldapper[ldap]"')
    assert errors["asks"].endswith('is not installed; remedy: pip install "x[y]"')
    assert "has no Somethin, which its __all__ lists; remedy: did you mean Something?" in errors["liar"]
    assert "plugin 'silent' of mailstack-ldapper 2.5 has no __all__" in errors["silent"]
    assert "ldapper:LDAP, which is no module" in errors["object"]
    assert "typo.py" in errors["typo"]


def test_a_plugin_that_cannot_be_imported_says_whose_it_is_and_the_configuration_its_line(package: Path) -> None:
    source = package / "mx.py"
    source.write_text("from mailstack import plugin\n\nplugin('broken')\n")
    error = load_and_check(source)
    assert (error.file, error.line) == (str(source), 3)
    assert error.message.startswith("plugin 'broken' of mailstack-ldapper 2.5 cannot be imported: ZeroDivisionError")
    assert error.remedy == "`python -c 'import broken_plugin'` shows the whole traceback"


def test_a_missing_extra_is_told_with_the_command_that_installs_it(package: Path) -> None:
    assert refused("needer").remedy == 'pip install "mailstack-ldapper[ldap]"'
    source = package / "mx.py"
    source.write_text("from mailstack import plugin\n\nentry = plugin('ldapper').LDAP('ldap://x')\n")
    error = load_and_check(source)
    assert (error.line, error.remedy) == (3, 'pip install "mailstack-ldapper[ldap]"')


def test_a_name_that_two_distributions_bring_is_refused_and_both_are_named(package: Path) -> None:
    version = metadata.version("mailstack")
    assert refused("discard").message == (
        "plugin 'discard' is there 2 times: ldapper of mailstack-ldapper 2.5, "
        f"mailstack.handlers.discard of mailstack {version}"
    )


# Extras.


def test_a_module_of_an_extra_is_imported_or_told_how_to_get(package: Path) -> None:
    assert extra.require("json", "mailstack[json]").dumps([]) == "[]"
    with pytest.raises(ConfigError) as caught:
        extra.require("no_such.module", "mailstack[ldap]")
    assert caught.value.message == "the module no_such.module is not installed"
    assert caught.value.remedy == 'pip install "mailstack[ldap]"'
    with pytest.raises(ConfigError) as caught:
        extra.require("needer", "mailstack[ldap]")
    assert caught.value.message == "the module needer cannot be imported: No module named 'ldapthing'"


# Those in a folder.

HOUSE = '''"""house: no mail from there."""
from dataclasses import dataclass
from mailstack import Reply, hookimpl

__all__ = ["Unwanted"]


@dataclass(eq=False)
class Unwanted:
    domain: "str"

    @hookimpl
    def mail(self, sender):
        return Reply(550, "no") if sender.address.domain == self.domain else None
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "etc/plugins"
    path.mkdir(parents=True, mode=0o755)
    (path / "house.py").write_text(HOUSE)
    (path / "house.py").chmod(0o644)
    (path / "_shared.py").write_text("1 / 0\n")
    (path / "notes.txt").touch()
    return path


def configuration(folder: Path, text: str) -> Path:
    path = folder.parent / "mx.py"
    path.write_text(f"from mailstack import Server, Stack, plugin\n\n{text}\n")
    return path


async def test_a_plugin_of_a_folder_lies_beside_the_configuration_and_is_called_as_its_file(folder: Path) -> None:
    path = configuration(
        folder, "server = Server(Stack(plugin('house', folder='plugins').Unwanted('example.com')), hostname='mx')"
    )
    server = config.load(str(path))
    assert [entry.name for entry in server.check().entries] == ["house"]
    async with Dialog(server) as smtp:
        assert await smtp.message("eve@example.com", "b@example.org") == 550
        assert [finding.who for finding in smtp.evidence] == ["house"]


def test_its_file_is_read_anew_each_time(folder: Path) -> None:
    assert mailstack.plugin("house", folder=folder).__doc__ == "house: no mail from there."
    (folder / "house.py").write_text(HOUSE.replace("no mail", "some mail"))
    assert mailstack.plugin("house", folder=str(folder)).__doc__ == "house: some mail from there."


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("import os\n1 / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("x = 1\ndef y(:\n", 2, "invalid syntax"),
        ("import no_such_module\n", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("class Unwanted: ...\n", None, "plugin 'house' has no __all__"),
        ("__all__ = ['Nothing']\n", None, "plugin 'house' has no Nothing, which its __all__ lists"),
    ],
)
def test_a_mistake_in_it_is_told_with_its_file_and_line(
    folder: Path, text: str, line: int | None, message: str
) -> None:
    (folder / "house.py").write_text(text)
    error = load_and_check(configuration(folder, "plugin('house', folder='plugins')"))
    assert (error.file, error.line, error.message) == (str(folder / "house.py"), line, message)
    assert error.remedy


@pytest.mark.parametrize(
    ("name", "where", "message", "remedy"),
    [
        ("hose", "plugins", "there is no plugin 'hose' in ", "did you mean house?"),
        ("zzz", "plugins", "there is no plugin 'zzz' in ", "it has house"),
        ("../mx", "plugins", "there is no plugin '../mx' in ", "it has house"),
        ("_shared", "plugins", "there is no plugin '_shared' in ", "it has house"),
        ("house", "plugin", "the plugin folder ", "make it"),
        ("house", "plugins/empty", "there is no plugin 'house' in ", "it has no plugins"),
    ],
)
def test_a_plugin_or_folder_that_is_not_there_is_told(
    folder: Path, name: str, where: str, message: str, remedy: str
) -> None:
    (folder / "empty").mkdir()
    path = configuration(folder, f"plugin({name!r}, folder={where!r})")
    error = load_and_check(path)
    assert (error.file, error.line) == (str(path), 3)
    assert error.message.startswith(message)
    assert error.remedy.startswith(remedy)


def test_what_others_may_write_is_warned_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def warnings() -> list[str]:
        log.configure("warning", "logfmt", sys.stderr)
        try:
            mailstack.plugin("house", folder=folder)
        finally:
            log.reset()
        return capsys.readouterr().err.splitlines()

    assert warnings() == []
    (folder / "house.py").chmod(0o646)
    [line] = warnings()
    assert "others may change this plugin" in line
    assert f"chmod go-w {folder}/house.py" in line
    folder.chmod(0o777)
    assert len(warnings()) == 2


def test_the_plugins_of_a_folder_are_listed_behind_the_installed_ones(folder: Path) -> None:
    (folder / "bad.py").write_text("1 / 0\n")
    bad, house = plugins.plugins(folder)[-2:]
    assert (house.name, house.kind, house.module) == ("house", "folder", str(folder / "house.py"))
    assert [(made.name, made.signature, made.hooks) for made in house.factories] == [
        ("Unwanted", "(domain: str)", ("mail",))
    ]
    assert bad.error.startswith(f"{folder}/bad.py:1: ZeroDivisionError")
