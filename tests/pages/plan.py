"""How SQLite runs the statements of a page: which tables are read as a whole."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import sqlalchemy as sa
from fastapi.testclient import TestClient

Statement: TypeAlias = tuple[str, Any]


@contextmanager
def sent_statements(registry: TestClient) -> Iterator[Sequence[Statement]]:
    """Yield the statements that the service runs inside the block, each with its parameters."""
    statements: list[Statement] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    sa.event.listen(_engine(registry), "before_cursor_execute", note)
    yield statements
    sa.event.remove(_engine(registry), "before_cursor_execute", note)


def plans(registry: TestClient, statements: Sequence[Statement]) -> Iterator[Sequence[str]]:
    """Iterate over the plans of statements, each as its steps in words."""
    with _engine(registry).connect() as connection:
        for statement, parameters in statements:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            yield [row[-1] for row in rows]


def _engine(registry: TestClient) -> sa.Engine:
    engine: sa.Engine = registry.app.state.container.primary  # type: ignore[attr-defined]
    return engine
