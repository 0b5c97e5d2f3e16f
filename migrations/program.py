"""Names the oldest program that can use the schema."""

import sqlalchemy as sa
from alembic import op

_TABLE = sa.table("program", sa.column("id", sa.Integer), sa.column("oldest", sa.Text))


def needs(revision: str) -> None:
    """Say that programs older than a revision cannot use the schema any more.

    A migration that contracts the schema calls this with the first revision whose programs do without what it removes.
    A migration that only expands it does not: older programs go on as before.
    """
    op.execute(sa.delete(_TABLE))
    op.execute(sa.insert(_TABLE).values(id=1, oldest=revision))
