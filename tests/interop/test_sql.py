"""A real PostgreSQL behind the database's door and the lookup: values, bound keys, one that dies, hangs, returns."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from mailstack.services.lookup import SQL, Unavailable
from tests.interop import postgres

pytestmark = pytest.mark.interop

pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

from mailstack.services.sql import MOST, Database  # noqa: E402

QUERY = "SELECT target FROM alias WHERE name = :key ORDER BY target"
ROWS = "('ann', 'one'), ('list', 'a'), ('list', 'b'), ('n', null)"
TABLE = f"CREATE TABLE alias AS SELECT * FROM (VALUES {ROWS}) AS rows (name, target)"


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Postgres]:
    if not postgres.available():
        if os.environ.get("MAILSTACK_REQUIRE_INTEROP"):
            pytest.fail("postgresql is not installed")
        pytest.skip("postgresql is not installed")
    folder = Path(tempfile.mkdtemp(prefix="mailstack-postgres-"))  # pytest's own may not be entered by nobody
    folder.chmod(0o755)
    running = postgres.start(folder / "cluster")
    import psycopg

    with psycopg.connect(running.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(TABLE)
    yield running
    if running.process.poll() is None:
        running.stop()
    shutil.rmtree(folder)


@pytest.mark.every_backend
async def test_rows_are_found_by_bound_keys(cluster: postgres.Postgres) -> None:
    source = SQL(cluster.url, QUERY)
    async with source.opened():
        found = {"ann": "one", "list": "a, b", "n": None, "bob": None, "ann' OR '1'='1": None, ":key": None, "%s": None}
        for key, value in found.items():
            assert await source.find(key) == value
        for absent in ("ann\0", "\ud800", "", "é\r\n"):
            assert await source.find(absent) is None


async def test_values_come_as_they_are_and_nothing_is_changed(cluster: postgres.Postgres) -> None:
    database = Database(cluster.url)
    async with database.opened():
        assert await database.rows("SELECT :a, 1, true, null", a="x") == [("x", 1, True, None)]
        assert await database.rows("DELETE FROM alias WHERE name = :a RETURNING target", a="ann") == [("one",)]
        assert await database.rows(QUERY, key="ann") == [("one",)]
        with pytest.raises(Unavailable, match="no_such_table") as told:
            await database.rows("SELECT * FROM no_such_table WHERE name = :key", key="private")
        assert "private" not in str(told.value)
        with pytest.raises(Unavailable, match="more than"):
            await database.rows("SELECT generate_series(0, :most)", most=MOST)
    with pytest.raises(RuntimeError, match="not open"):
        await database.rows(QUERY, key="ann")


async def test_a_wrong_password_is_no_answer_and_is_not_told(cluster: postgres.Postgres) -> None:
    source = SQL(cluster.url.replace("secret", "wrong"), QUERY)
    async with source.opened():
        with pytest.raises(Unavailable, match="password authentication failed") as told:
            await source.find("ann")
    assert "wrong" not in str(told.value)


async def test_a_database_that_is_restarted_is_hardly_noticed(cluster: postgres.Postgres) -> None:
    source = SQL(cluster.url, QUERY)
    async with source.opened():
        assert await source.find("ann") == "one"
        cluster.stop()
        with pytest.raises(Unavailable):
            await source.find("ann")
        cluster.start()
        assert await source.find("ann") == "one"
        cluster.stop()
        cluster.start()
        assert await source.find("ann") == "one"


@pytest.mark.every_backend
async def test_a_database_that_hangs_costs_the_deadline_and_no_more_threads(cluster: postgres.Postgres) -> None:
    source = SQL(cluster.url, QUERY, pool=2, timeout=0.3)
    before = threading.active_count()
    async with source.opened():
        assert await source.find("ann") == "one"
        cluster.freeze()
        try:
            for _ in range(6):
                with pytest.raises(Unavailable):
                    await source.find("ann")
            assert threading.active_count() <= before + 4
        finally:
            cluster.thaw()
        assert await _in_the_end(source) == "one"


async def test_many_at_once_share_the_pool(cluster: postgres.Postgres) -> None:
    source = SQL(cluster.url, QUERY, pool=3)
    found: list[str | None] = []

    async def ask() -> None:
        found.append(await source.find("ann"))

    async with source.opened(), anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(ask)
    assert found == ["one"] * 40


async def _in_the_end(source: SQL) -> str | None:
    """What hung may hold all threads for a moment."""
    for _ in range(100):
        try:
            return await source.find("ann")
        except Unavailable:
            await anyio.sleep(0.05)
    return None
