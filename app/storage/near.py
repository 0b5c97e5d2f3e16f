"""Names that resemble one that is not published, from a few index lookups, however much is published."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import sqlalchemy as sa

from app.domain.values.name import ReleaseName, is_name, is_release_name, is_vendor, vendor_of
from app.storage import lookup, schema

MAX_NEAR = 3
# Names next to each other in the index begin alike. So many are compared on each side.
_NEIGHBOURS = 50
_VERSIONS = 200
_CUTOFF = 0.7
# Versions are short: 1.0 resembles 1 by one half.
_VERSION_CUTOFF = 0.5
_TABLES = {
    "vendor": schema.vendor,
    "model": schema.model,
    "profile": schema.profile,
    "implementation": schema.implementation,
    "host": schema.host,
}


def near(connection: sa.Connection, kind: str, name: str) -> Sequence[str]:
    """Return up to MAX_NEAR published names of a kind that resemble a name, the most similar first.

    kind: as in UnknownNameError; none resembles a name of another kind, such as a token.
    """
    if kind == "release":
        return _near_releases(connection, ReleaseName.parse(name)) if is_release_name(name) else ()
    if kind not in _TABLES:
        return ()
    return _near_names(connection, kind, name)


def _near_names(connection: sa.Connection, kind: str, name: str) -> Sequence[str]:
    """Return similar names, and those with the same path at a similar vendor."""
    table = _TABLES[kind]
    if kind in {"vendor", "host"}:
        is_comparable = kind == "host" or is_vendor(name)
        return get_close_matches(name, _neighbours(connection, table, name), MAX_NEAR, _CUTOFF) if is_comparable else ()
    if not is_name(name):
        return ()
    vendor = vendor_of(name)
    neighbours = [other for other in _neighbours(connection, table, name) if vendor_of(other) == vendor]
    # The vendors differ in spelling only, so what is compared of names of one vendor is the rest.
    paths = {other.removeprefix(f"{vendor}/"): other for other in neighbours}
    similar = [paths[path] for path in get_close_matches(name.removeprefix(f"{vendor}/"), paths, MAX_NEAR, _CUTOFF)]
    moved = [f"{other}/{name.partition('/')[2]}" for other in _near_names(connection, "vendor", vendor)]
    known = lookup.ids(connection, table, moved)
    return [*(other for other in moved if other in known and other not in similar), *similar][:MAX_NEAR]


def _near_releases(connection: sa.Connection, name: ReleaseName) -> Sequence[str]:
    """Return releases of the implementation with similar versions, or else of similar implementations."""
    if versions := _versions(connection, name.implementation):
        # Without a similar version, the newest ones say what there is.
        similar = get_close_matches(name.version, versions, MAX_NEAR, _VERSION_CUTOFF) or versions[:MAX_NEAR]
        return [str(ReleaseName(name.implementation, version)) for version in similar]
    return list(_releases_of(connection, _near_names(connection, "implementation", name.implementation), name.version))


def _releases_of(connection: sa.Connection, implementations: Sequence[str], version: str) -> Iterator[str]:
    """Iterate over the release of each implementation that has a version, or else its newest one."""
    for implementation in implementations:
        versions = _versions(connection, implementation)
        if versions:
            yield str(ReleaseName(implementation, version if version in versions else versions[0]))


def _versions(connection: sa.Connection, implementation: str) -> Sequence[str]:
    """Return versions of an implementation, the newest first."""
    table = schema.release
    query = (
        sa.select(table.c.version)
        .join_from(table, schema.implementation)
        .where(schema.implementation.c.name == implementation)
        .order_by(table.c.seq.desc())
        .limit(_VERSIONS)
    )
    return connection.execute(query).scalars().all()


def _neighbours(connection: sa.Connection, table: sa.Table, name: str) -> Sequence[str]:
    """Return the names that come next before and after a name in the index."""
    column: sa.Column[str] = table.c.name
    before = sa.select(column).where(column < name).order_by(column.desc()).limit(_NEIGHBOURS)
    after = sa.select(column).where(column > name).order_by(column).limit(_NEIGHBOURS)
    return [*connection.execute(before).scalars(), *connection.execute(after).scalars()]
