"""Triggers that keep published rows from being changed or deleted."""

from alembic import op


def refuse_changes(table: str) -> None:
    """Create triggers that refuse to change or delete rows of a table."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for event in ("UPDATE", "DELETE", *(["TRUNCATE"] if is_postgresql else [])):
        create = f"CREATE TRIGGER {table}_refuses_{event.lower()} BEFORE {event} ON {table}"
        if is_postgresql:
            op.execute(f"{create} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()")
        else:
            op.execute(f"{create} BEGIN SELECT RAISE(ABORT, 'what is published never changes'); END")
