"""Lookups by HTTP: what is asked, what its answers mean, how long they hold, and what a bad server cannot do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from mailstack import ConfigError
from mailstack.services.lookup import Table, Unavailable
from mailstack.services.lookup.http import HTTP, HTTPFile
from tests.services.test_store import Clock

pytest.importorskip("httpx2")


class Web:
    """A server whose next answers are told: status, headers, body. What it was asked is in `asked`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: tuple[int, dict[str, str], bytes] = (404, {}, b"")
        self.go = threading.Event()
        self.go.set()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {key.lower(): value for key, value in self.headers.items()}
                web.asked.append((self.command, self.path, headers, body))
                web.go.wait(10)
                status, told, content = web.answer
                self.send_response(status)
                for name, value in told.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                try:
                    self.wfile.write(content)
                except OSError:
                    pass

            do_POST = do_GET

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.go.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.stop()


async def test_the_key_is_in_the_url_and_the_body_is_the_value(web: Web) -> None:
    source = HTTP(web.url + "/u/{key}?of={key}")
    async with source.opened():
        assert await source.find("ann") is None
        web.answer = (200, {}, "ü one\r\n".encode())
        for key in ("a/../b?c#d", "é %2e\r\nX: y", "..;/"):
            assert await source.find(key) == "ü one"
            path = web.asked[-1][1]
            assert path.isascii()
            assert unquote(path) == f"/u/{key}?of={key}"
            assert path.count("/") == 2
        before = len(web.asked)
        for absent in ("", ".", "..", "a\0", "\ud800"):
            assert await source.find(absent) is None
        assert len(web.asked) == before
        web.answer = (204, {}, b"")
        assert await source.find("bob") is None


async def test_without_a_place_for_the_key_it_is_posted_and_a_field_is_the_value(web: Web) -> None:
    source = HTTP(web.url + "/ask", field="quota", headers={"X-Token": "t"}, ttl=0)
    async with source.opened():
        values = {b"5": "5", b'"a"': "a", b'["a", 1]': "a, 1", b"true": "true", b"null": None, b"[]": None, b'""': ""}
        for told, value in values.items():
            web.answer = (200, {}, b'{"quota": ' + told + b"}")
            assert await source.find(str(told)) == value
        method, path, headers, body = web.asked[0]
        assert (method, path, headers["x-token"], body) == ("POST", "/ask", "t", b'{"key":"b\'5\'"}')
        for nonsense in (b"", b"[]", b"{}", b'{"quota": {}}', b'{"quota": [[1]]}', b"\xff", b"[" * 100_000):
            web.answer = (200, {}, nonsense)
            with pytest.raises(Unavailable):
                await source.find("ann")


@pytest.mark.parametrize("status", [201, 301, 302, 304, 400, 401, 403, 410, 429, 500, 503])
async def test_any_other_status_is_no_answer(web: Web, status: int) -> None:
    source = HTTP(web.url + "/{key}")
    web.answer = (status, {"Location": web.url + "/other"}, b"" if status == 304 else b"x")
    async with source.opened():
        with pytest.raises(Unavailable, match=str(status)):
            await source.find("ann")
        assert len(web.asked) == 1


async def test_answers_are_kept_and_asked_for_again_with_their_tag(web: Web) -> None:
    clock = Clock()
    source = HTTP(web.url + "/{key}", ttl="1m", clock=clock)
    async with source.opened():
        web.answer = (200, {"ETag": '"1"'}, b"one")
        assert await source.find("ann") == "one"
        clock.now += 59
        assert await source.find("ann") == "one"
        assert len(web.asked) == 1
        clock.now += 2
        web.answer = (304, {"Cache-Control": "private, max-age=100"}, b"")
        assert await source.find("ann") == "one"
        assert web.asked[-1][2]["if-none-match"] == '"1"'
        clock.now += 99
        assert await source.find("ann") == "one"
        assert len(web.asked) == 2
        clock.now += 2
        web.answer = (404, {"Cache-Control": "no-cache"}, b"")
        assert await source.find("ann") is None
        web.answer = (200, {"Cache-Control": "no-store"}, b"two")
        assert [await source.find("ann") for _ in range(2)] == ["two", "two"]
        assert len(web.asked) == 5


async def test_the_last_good_answer_holds_while_the_server_is_down(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    source = HTTP(web.url + "/{key}", ttl="1m", keep="1h", clock=clock)
    async with source.opened():
        web.answer = (200, {}, b"one")
        assert await source.find("ann") == "one"
        web.answer = (404, {}, b"")
        assert await source.find("bob") is None
        clock.now += 3600
        web.answer = (500, {}, b"")
        assert await source.find("ann") == "one"
        assert "status 500" in caplog.text
        web.stop()
        assert await source.find("ann") == "one"
        with pytest.raises(Unavailable):  # he may be there by now
            await source.find("bob")
        with pytest.raises(Unavailable):
            await source.find("eve")
        clock.now += 61
        with pytest.raises(Unavailable):
            await source.find("ann")


async def test_a_server_that_is_slow_talks_too_much_or_compresses_is_no_answer(web: Web) -> None:
    slow, small = HTTP(web.url + "/{key}", timeout=0.2), HTTP(web.url + "/{key}", size=1000)
    async with slow.opened(), small.opened():
        web.go.clear()
        with pytest.raises(Unavailable, match="no answer in"):
            await slow.find("ann")
        web.go.set()
        web.answer = (200, {}, b"x" * 1001)
        with pytest.raises(Unavailable, match="more than 1000 octets"):
            await small.find("ann")
        web.answer = (200, {"Content-Encoding": "gzip"}, b"x")
        with pytest.raises(Unavailable, match="compressed"):
            await small.find("ann")
        web.answer = (200, {}, b"x" * 1000)
        assert await small.find("ann") == "x" * 1000
    with pytest.raises(RuntimeError, match="not open"):
        await small.find("bob")


async def test_a_list_is_fetched_whole_and_stays_while_the_server_is_down(web: Web) -> None:
    source = HTTPFile(web.url + "/list")
    assert isinstance(source, Table)
    async with source.opened():
        for absent in ("ann", ""):
            with pytest.raises(Unavailable, match="not fetched yet"):
                source.find_now(absent)
        web.answer = (200, {"ETag": '"1"', "Cache-Control": "max-age=30"}, b"# all\nAnn one two\r\n\n bob # known\n")
        assert await source.fetch() == 30
        assert source.entries == {"ann": "one two", "bob": ""}
        assert source.find_now("ANN") == "one two"
        assert await source.find("eve") is None
        web.answer = (304, {}, b"")
        assert await source.fetch() == 300
        assert web.asked[-1][2]["if-none-match"] == '"1"'
        for status, body in ((500, b""), (404, b""), (200, b"\xff"), (200, b"ann 1\nann 2")):
            web.answer = (status, {}, body)
            assert await source.fetch() == 60
        for headers, body in (
            ({"Content-Type": "text/html; charset=utf-8"}, b"ann down for maintenance"),
            ({}, b"# \n"),
        ):
            web.answer = (200, headers, body)
            assert await source.fetch() == 60
        assert source.find_now("ann") == "one two"


async def test_a_list_may_be_empty_where_that_is_said(web: Web) -> None:
    source = HTTPFile(web.url + "/list", empty=True)
    async with source.opened():
        web.answer = (200, {}, b"ann\n")
        await source.fetch()
        web.answer = (200, {}, b"")
        assert await source.fetch() == 300
        assert source.entries == {}


@pytest.mark.parametrize(
    "url",
    ["", "ann", "ftp://h/{key}", "http:///{key}", "http://{key}/", "http://{key}@h/", "http://h/a b", "http://h:x/"],
)
def test_what_is_no_url_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match=r"HTTP\(url\)"):
        HTTP(url)


async def test_secrets_of_the_url_are_not_told(web: Web) -> None:
    source = HTTP(web.url.replace("//", "//user:secret@") + "/{key}?token=secret")
    web.answer = (500, {}, b"")
    async with source.opened():
        with pytest.raises(Unavailable) as told:
            await source.find("ann")
    assert "secret" not in str(told.value)
    assert "authorization" in web.asked[0][2]
