"""Lists of what is published, a page at a time, in an order that additions do not disturb."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from app.domain.name import ReleaseName
from app.storage import schema

Key: TypeAlias = tuple[str | int, ...]
Row: TypeAlias = sa.Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list; after: the key that the next page begins behind, None on the last one."""

    rows: Sequence[Row]
    after: Key | None


def _page(
    connection: sa.Connection,
    query: sa.Select[*tuple[Any, ...]],
    keys: Sequence[sa.ColumnElement[Any]],
    after: Key | None,
    limit: int,
) -> Page:
    """Return up to limit rows of a query whose rows the keys identify and order; the first columns are the keys."""
    if after is not None:
        query = query.where(sa.tuple_(*keys) > sa.tuple_(*(sa.literal(each) for each in after)))
    rows = connection.execute(query.order_by(*keys).limit(limit + 1)).all()
    page = rows[:limit]
    return Page(page, tuple(page[-1][: len(keys)]) if len(rows) > limit else None)


def vendors(connection: sa.Connection, after: Key | None, limit: int) -> Page:
    """Return vendors by name: name, title, url."""
    table = schema.vendor
    query = sa.select(table.c.name, table.c.title, table.c.url)
    return _page(connection, query, [table.c.name], after, limit)


def vendor(connection: sa.Connection, name: str) -> Row | None:
    """Return a vendor: name, title, url."""
    table = schema.vendor
    return connection.execute(sa.select(table.c.name, table.c.title, table.c.url).where(table.c.name == name)).first()


def release(connection: sa.Connection, name: ReleaseName) -> Row | None:
    """Return a release: id, implementation, version, description, digest."""
    table, implementation = schema.release, schema.implementation
    query = (
        sa.select(
            table.c.id,
            implementation.c.name.label("implementation"),
            table.c.version,
            table.c.description,
            schema.release_digest.c.digest,
        )
        .join_from(table, implementation)
        .join(schema.release_digest)
        .where(implementation.c.name == name.implementation, table.c.version == name.version)
    )
    return connection.execute(query).first()


def profile(connection: sa.Connection, name: str) -> Row | None:
    """Return a profile: id, name, extends, description."""
    table, parent = schema.profile, schema.profile.alias("parent")
    query = (
        sa.select(table.c.id, table.c.name, parent.c.name.label("extends"), table.c.description)
        .select_from(table.outerjoin(parent, parent.c.id == table.c.extends_id))
        .where(table.c.name == name)
    )
    return connection.execute(query).first()


def variable_set(connection: sa.Connection, digest: str) -> str | None:
    """Return the canonical document of a variable set."""
    table = schema.variable_set
    return connection.execute(sa.select(table.c.document).where(table.c.digest == digest)).scalar_one_or_none()


def releases(connection: sa.Connection, filters: Mapping[str, str | None], after: Key | None, limit: int) -> Page:
    """Return releases by implementation, then in the order published; filters: implementation, model.

    Columns: implementation, id, version, digest, model_count, profile_count (None: no list).
    """
    release, implementation = schema.release, schema.implementation
    in_release = schema.release_model.c.release_id == release.c.id
    is_listed = schema.release_profile.c.release_id == release.c.id
    profile_count = sa.select(sa.func.count()).select_from(schema.release_profile).where(is_listed).scalar_subquery()
    query = (
        sa.select(
            implementation.c.name,
            release.c.id,
            release.c.version,
            schema.release_digest.c.digest,
            sa.select(sa.func.count()).select_from(schema.release_model).where(in_release).scalar_subquery(),
            sa.case((schema.profile_list.c.release_id.is_not(None), profile_count)),
        )
        .select_from(release)
        .join(implementation)
        .join(schema.release_digest)
        .outerjoin(schema.profile_list)
    )
    if (name := filters.get("implementation")) is not None:
        query = query.where(implementation.c.name == name)
    if (name := filters.get("model")) is not None:
        having = (
            sa.select(schema.release_model.c.release_id)
            .select_from(schema.release_model)
            .join(schema.model)
            .where(schema.model.c.name == name)
        )
        query = query.where(release.c.id.in_(having))
    return _page(connection, query, [implementation.c.name, release.c.id], after, limit)


def models(connection: sa.Connection, filters: Mapping[str, str | None], after: Key | None, limit: int) -> Page:
    """Return device models by name; filters: vendor, q (a part of the name, in any case).

    Columns: name, vendor, release_count.
    """
    model, vendor = schema.model, schema.vendor
    implements = schema.release_model.c.model_id == model.c.id
    count = sa.select(sa.func.count()).select_from(schema.release_model).where(implements).scalar_subquery()
    query = sa.select(model.c.name, vendor.c.name.label("vendor"), count).join_from(model, vendor)
    if (name := filters.get("vendor")) is not None:
        query = query.where(vendor.c.name == name)
    if (part := filters.get("q")) is not None:
        query = query.where(model.c.name.icontains(part, autoescape=True))
    return _page(connection, query, [model.c.name], after, limit)


def profiles(connection: sa.Connection, filters: Mapping[str, str | None], after: Key | None, limit: int) -> Page:
    """Return profiles by name; filters: vendor, model (that it names or inherits).

    Columns: name, extends, model_count.
    """
    profile, parent, entry = schema.profile, schema.profile.alias("parent"), schema.profile_entry
    count = sa.select(sa.func.count()).where(entry.c.profile_id == profile.c.id).scalar_subquery()
    query = sa.select(profile.c.name, parent.c.name.label("extends"), count).select_from(
        profile.outerjoin(parent, parent.c.id == profile.c.extends_id)
    )
    if (name := filters.get("vendor")) is not None:
        query = query.join(schema.vendor, schema.vendor.c.id == profile.c.vendor_id).where(schema.vendor.c.name == name)
    if (name := filters.get("model")) is not None:
        naming = (
            sa.select(entry.c.profile_id.label("id"))
            .select_from(entry)
            .join(schema.model)
            .where(schema.model.c.name == name)
        )
        having = naming.cte("having_model", recursive=True)
        below = schema.profile.alias("below")
        having = having.union(sa.select(below.c.id).where(below.c.extends_id == having.c.id))
        query = query.where(profile.c.id.in_(sa.select(having.c.id)))
    return _page(connection, query, [profile.c.name], after, limit)


def variable_sets(connection: sa.Connection, filters: Mapping[str, str | None], after: Key | None, limit: int) -> Page:
    """Return variable sets by digest; filters: model, implementation, version, variable.

    Columns: digest, document.
    """
    table, held = schema.variable_set, schema.release_model
    query = sa.select(table.c.digest, table.c.document)
    if (name := filters.get("model")) is not None:
        query = query.join(schema.model).where(schema.model.c.name == name)
    implementation, version = filters.get("implementation"), filters.get("version")
    if implementation is not None or version is not None:
        having = sa.select(held.c.digest).select_from(held).join(schema.release).join(schema.implementation)
        if implementation is not None:
            having = having.where(schema.implementation.c.name == implementation)
        if version is not None:
            having = having.where(schema.release.c.version == version)
        query = query.where(table.c.digest.in_(having))
    if (variable := filters.get("variable")) is not None:
        stating = sa.select(schema.statement.c.model_id).where(schema.statement.c.variable == variable)
        query = query.where(table.c.model_id.in_(stating)).where(_has_variable(connection, variable))
    return _page(connection, query, [table.c.digest], after, limit)


def _has_variable(connection: sa.Connection, variable: str) -> sa.ColumnElement[bool]:
    document = schema.variable_set.c.document
    if connection.dialect.name == "postgresql":
        return sa.func.jsonb_exists(sa.cast(document, sa.dialects.postgresql.JSONB)["variables"], variable)
    each = sa.func.json_each(document, "$.variables").table_valued("key")
    return sa.exists(sa.select(each.c.key).where(each.c.key == variable))


def releases_with_sets(connection: sa.Connection, digests: Sequence[str]) -> dict[str, list[str]]:
    """Return the releases whose sets these are, by digest, in the order published."""
    held, release, implementation = schema.release_model, schema.release, schema.implementation
    found: dict[str, list[str]] = {digest: [] for digest in digests}
    rows = connection.execute(
        sa.select(held.c.digest, implementation.c.name, release.c.version)
        .select_from(held)
        .join(schema.variable_set, schema.variable_set.c.digest == held.c.digest)
        .join(release)
        .join(implementation)
        .where(held.c.model_id == schema.variable_set.c.model_id, schema.variable_set.c.digest.in_(digests))
        .order_by(release.c.id)
    )
    for digest, name, version in rows:
        found[digest].append(f"{name}@{version}")
    return found
