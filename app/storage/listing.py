"""Lists of what is published, a page at a time, in an order that stays stable while entries are added."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from app.domain.values.name import ReleaseName, version_order
from app.domain.values.state import State
from app.storage import lookup, schema

Key: TypeAlias = tuple[str | int, ...]
Row: TypeAlias = sa.Row[*tuple[Any, ...]]
Query: TypeAlias = sa.Select[*tuple[Any, ...]]

# A page with documents ends after so many characters of them.
_MAX_PAGE_CHARACTERS = 8 * 1024 * 1024
# Is added to the ids of drafts, so that they come after all published releases, whose seq is smaller.
_AFTER_RELEASES = 2**30


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list. after: the key after which the next page begins, None on the last page."""

    rows: Sequence[Row]
    after: Key | None


def page(
    connection: sa.Connection,
    query: Query,
    keys: Sequence[sa.ColumnElement[Any]],
    after: Key | None,
    limit: int,
) -> Page:
    """Return up to limit rows of a query. keys: identify and order its rows, and are its first columns."""
    if after is not None:
        query = query.where(sa.tuple_(*keys) > sa.tuple_(*(sa.literal(part) for part in after)))
    rows = connection.execute(query.order_by(*keys).limit(limit + 1)).all()
    page = rows[:limit]
    return Page(page, tuple(page[-1][: len(keys)]) if len(rows) > limit else None)


def _page_of_documents(
    connection: sa.Connection,
    query: Query,
    keys: Sequence[sa.ColumnElement[Any]],
    document: sa.ColumnElement[str],
    after: Key | None,
    limit: int,
) -> Page:
    """Return up to limit rows of a query, fewer where their documents take much memory, but at least one."""
    sizes = page(connection, query.with_only_columns(*keys, sa.func.length(document)), keys, after, limit)
    total = 0
    for count, row in enumerate(sizes.rows, 1):
        total += row[-1]
        if total >= _MAX_PAGE_CHARACTERS:
            return page(connection, query, keys, after, count)
    return page(connection, query, keys, after, limit)


def vendors(connection: sa.Connection, after: Key | None, limit: int) -> Page:
    """Return vendors ordered by name: name, title, url."""
    table = schema.vendor
    query = sa.select(table.c.name, table.c.title, table.c.url)
    return page(connection, query, [table.c.name], after, limit)


def vendor(connection: sa.Connection, name: str) -> Row | None:
    """Return a vendor: name, title, url."""
    table = schema.vendor
    return connection.execute(sa.select(table.c.name, table.c.title, table.c.url).where(table.c.name == name)).first()


def release(connection: sa.Connection, name: ReleaseName) -> Row | None:
    """Return a release: id, implementation, version, description, digest, state (None: published)."""
    table, implementation = schema.release, schema.implementation
    query = (
        sa.select(
            table.c.id,
            implementation.c.name.label("implementation"),
            table.c.version,
            table.c.description,
            schema.release_digest.c.digest,
            schema.release_state.c.state,
        )
        .join_from(table, implementation)
        .join(schema.release_digest)
        .outerjoin(schema.release_state)
        .where(implementation.c.name == name.implementation, table.c.version == name.version)
    )
    return connection.execute(query).first()


def release_draft(connection: sa.Connection, name: ReleaseName) -> Row | None:
    """Return the draft of a release: digest, document."""
    table = schema.release_draft
    query = sa.select(table.c.digest, table.c.document)
    where = (table.c.implementation == name.implementation) & (table.c.version == name.version)
    return connection.execute(query.where(where)).first()


def profile(connection: sa.Connection, name: str) -> Row | None:
    """Return a profile: id, name, extends, description, state (None: published), digest."""
    table, parent, state = schema.profile, schema.profile.alias("parent"), schema.profile_state
    query = (
        sa.select(
            table.c.id,
            table.c.name,
            parent.c.name.label("extends"),
            table.c.description,
            state.c.state,
            schema.profile_digest.c.digest,
        )
        .select_from(
            table.join(schema.profile_digest)
            .outerjoin(parent, parent.c.id == table.c.extends_id)
            .outerjoin(state, state.c.profile_id == table.c.id)
        )
        .where(table.c.name == name)
    )
    return connection.execute(query).first()


def lineage(connection: sa.Connection, profile_id: int) -> Sequence[Row]:
    """Return a profile and its ancestors, from the profile upwards: id, name."""
    ancestors, table = lookup.lineage(schema.profile.c.id == profile_id), schema.profile
    query = sa.select(table.c.id, table.c.name).join_from(ancestors, table, table.c.id == ancestors.c.id)
    return connection.execute(query.order_by(ancestors.c.depth)).all()


def variable_set(connection: sa.Connection, digest: str) -> str | None:
    """Return the canonical document of a variable set."""
    table = schema.variable_set
    return connection.execute(sa.select(table.c.document).where(table.c.digest == digest)).scalar_one_or_none()


def releases(
    connection: sa.Connection,
    filters: Mapping[str, str | None],
    states: Collection[State],
    after: Key | None,
    limit: int,
) -> Page:
    """Return releases in these states ordered by implementation, then as they were published, drafts last.

    filters: implementation, model. Columns: implementation, seq, version, state, digest, model_count, profile_count
    (None: no list).
    """
    listed = sa.union_all(*_by_states(states, _published_releases(filters), _release_drafts(connection, filters)))
    row = listed.subquery("listed").c
    query = sa.select(row.implementation, row.seq, row.version, row.state, row.digest, row.models, row.profiles)
    query = query.where(row.state.in_(states))
    return page(connection, query, [row.implementation, row.seq], after, limit)


def releases_by_version(
    connection: sa.Connection,
    filters: Mapping[str, str | None],
    states: Collection[State],
    after: Key | None,
    limit: int,
) -> Page:
    """Return published releases in these states ordered by implementation, the newest version of each first.

    after: implementation, version. Filters and columns: as those of `releases`.
    """
    row = _published_releases(filters).subquery("listed").c
    names = sa.select(row.implementation, row.version, row.id).where(row.state.in_(states))
    # No column has the order of versions, so all names are sorted; there are few of them.
    ordered = sorted(connection.execute(names), key=lambda name: version_order(name.version), reverse=True)
    ordered.sort(key=lambda name: name.implementation)
    start = 0 if after is None else sum(not _is_after(name, *map(str, after)) for name in ordered)
    ids = [name.id for name in ordered[start : start + limit]]
    query = sa.select(row.implementation, row.id, row.version, row.state, row.digest, row.models, row.profiles)
    rows = {release.id: release for release in connection.execute(query.where(row.id.in_(ids)))}
    last = ordered[start + limit - 1][:2] if start + limit < len(ordered) else None
    return Page([rows[release_id] for release_id in ids], None if last is None else tuple(last))


def _is_after(name: Row, implementation: str, version: str) -> bool:
    """Return whether a release comes after another one, by implementation and then the newest version first."""
    if name.implementation != implementation:
        return bool(name.implementation > implementation)
    return version_order(name.version) < version_order(version)


def _by_states(states: Collection[State], published: Query, drafts: Query) -> list[Query]:
    """Return the queries that can have rows in one of the states."""
    return [*([published] if set(states) - {State.DRAFT} else []), *([drafts] if State.DRAFT in states else [])]


def _published_releases(filters: Mapping[str, str | None]) -> Query:
    release, implementation = schema.release, schema.implementation
    in_release = schema.release_model.c.release_id == release.c.id
    is_listed = schema.release_profile.c.release_id == release.c.id
    profile_count = sa.select(sa.func.count()).select_from(schema.release_profile).where(is_listed).scalar_subquery()
    query = (
        sa.select(
            implementation.c.name.label("implementation"),
            release.c.id.label("id"),
            release.c.seq.label("seq"),
            release.c.version.label("version"),
            sa.func.coalesce(schema.release_state.c.state, State.PUBLISHED.value).label("state"),
            schema.release_digest.c.digest.label("digest"),
            sa.select(sa.func.count())
            .select_from(schema.release_model)
            .where(in_release)
            .scalar_subquery()
            .label("models"),
            sa.case((schema.profile_list.c.release_id.is_not(None), profile_count)).label("profiles"),
        )
        .select_from(release)
        .join(implementation)
        .join(schema.release_digest)
        .outerjoin(schema.release_state)
        .outerjoin(schema.profile_list)
    )
    if (name := filters.get("implementation")) is not None:
        query = query.where(implementation.c.name == name)
    if (name := filters.get("model")) is not None:
        release_ids = (
            sa.select(schema.release_model.c.release_id)
            .select_from(schema.release_model)
            .join(schema.model)
            .where(schema.model.c.name == name)
        )
        query = query.where(release.c.id.in_(release_ids))
    return query


def _release_drafts(connection: sa.Connection, filters: Mapping[str, str | None]) -> Query:
    draft = schema.release_draft
    query = sa.select(
        draft.c.implementation,
        draft.c.id.label("id"),
        (draft.c.id + _AFTER_RELEASES).label("seq"),
        draft.c.version,
        sa.literal(State.DRAFT.value).label("state"),
        draft.c.digest,
        draft.c.model_count.label("models"),
        draft.c.profile_count.label("profiles"),
    )
    if (name := filters.get("implementation")) is not None:
        query = query.where(draft.c.implementation == name)
    if (name := filters.get("model")) is not None:
        query = query.where(_has_key(connection, draft.c.document, "models", name))
    return query


def models(connection: sa.Connection, filters: Mapping[str, str | None], after: Key | None, limit: int) -> Page:
    """Return device models ordered by name.

    filters: vendor, variable, q (a part of the name, ignoring case; several, separated by blanks, must all be in it).
    Columns: name, vendor, release_count.
    """
    model, vendor = schema.model, schema.vendor
    implements = schema.release_model.c.model_id == model.c.id
    count = sa.select(sa.func.count()).select_from(schema.release_model).where(implements).scalar_subquery()
    query = sa.select(model.c.name, vendor.c.name.label("vendor"), count).join_from(model, vendor)
    if (name := filters.get("vendor")) is not None:
        query = query.where(vendor.c.name == name)
    if (name := filters.get("variable")) is not None:
        query = query.where(
            model.c.id.in_(sa.select(schema.statement.c.model_id).where(schema.statement.c.variable == name))
        )
    if (part := filters.get("q")) is not None:
        # No name has a blank, so a text with one is several parts.
        query = query.where(*(model.c.name.icontains(word, autoescape=True) for word in part.split()))
    return page(connection, query, [model.c.name], after, limit)


def profiles(
    connection: sa.Connection,
    filters: Mapping[str, str | None],
    states: Collection[State],
    after: Key | None,
    limit: int,
) -> Page:
    """Return profiles in these states ordered by name.

    filters: vendor, model (that the profile names or inherits). Columns: name, extends, state, digest (None: a draft),
    model_count.
    """
    listed = sa.union_all(*_by_states(states, _published_profiles(filters), _profile_drafts(connection, filters)))
    row = listed.subquery("listed").c
    query = sa.select(row.name, row.extends, row.state, row.digest, row.models).where(row.state.in_(states))
    return page(connection, query, [row.name], after, limit)


def _published_profiles(filters: Mapping[str, str | None]) -> Query:
    profile, parent, entry = schema.profile, schema.profile.alias("parent"), schema.profile_entry
    count = sa.select(sa.func.count()).where(entry.c.profile_id == profile.c.id).scalar_subquery()
    query = sa.select(
        profile.c.name.label("name"),
        parent.c.name.label("extends"),
        sa.func.coalesce(schema.profile_state.c.state, State.PUBLISHED.value).label("state"),
        schema.profile_digest.c.digest,
        count.label("models"),
    ).select_from(
        profile.join(schema.profile_digest)
        .outerjoin(parent, parent.c.id == profile.c.extends_id)
        .outerjoin(schema.profile_state, schema.profile_state.c.profile_id == profile.c.id)
    )
    if (name := filters.get("vendor")) is not None:
        query = query.join(schema.vendor, schema.vendor.c.id == profile.c.vendor_id).where(schema.vendor.c.name == name)
    if (name := filters.get("model")) is not None:
        query = query.where(profile.c.id.in_(sa.select(lookup.naming([name]).c.id)))
    return query


def _profile_drafts(connection: sa.Connection, filters: Mapping[str, str | None]) -> Query:
    draft = schema.profile_draft
    state = sa.literal(State.DRAFT.value).label("state")
    no_digest = sa.cast(sa.null(), sa.Text).label("digest")
    query = sa.select(draft.c.name, draft.c.extends, state, no_digest, draft.c.model_count.label("models"))
    if (name := filters.get("vendor")) is not None:
        query = query.where(draft.c.name.startswith(f"{name}/", autoescape=True))
    if (name := filters.get("model")) is not None:
        query = query.where(_has_key(connection, draft.c.document, "values", name))
    return query


def variable_sets(connection: sa.Connection, filters: Mapping[str, str | None], after: Key | None, limit: int) -> Page:
    """Return variable sets ordered by digest.

    filters: model, implementation, version, variable. Columns: digest, document.
    """
    table, release_model = schema.variable_set, schema.release_model
    query = sa.select(table.c.digest, table.c.document)
    if (name := filters.get("model")) is not None:
        query = query.join(schema.model).where(schema.model.c.name == name)
    implementation, version = filters.get("implementation"), filters.get("version")
    if implementation is not None or version is not None:
        digests = sa.select(release_model.c.digest).select_from(release_model)
        digests = digests.join(schema.release).join(schema.implementation)
        if implementation is not None:
            digests = digests.where(schema.implementation.c.name == implementation)
        if version is not None:
            digests = digests.where(schema.release.c.version == version)
        query = query.where(table.c.digest.in_(digests))
    if (variable := filters.get("variable")) is not None:
        model_ids = sa.select(schema.statement.c.model_id).where(schema.statement.c.variable == variable)
        query = query.where(table.c.model_id.in_(model_ids)).where(
            _has_key(connection, table.c.document, "variables", variable)
        )
    return _page_of_documents(connection, query, [table.c.digest], table.c.document, after, limit)


def _has_key(connection: sa.Connection, document: sa.Column[str], field: str, key: str) -> sa.ColumnElement[bool]:
    """Return the condition that the JSON object under a field of a document has a key."""
    if connection.dialect.name == "postgresql":
        return sa.func.jsonb_exists(sa.cast(document, sa.dialects.postgresql.JSONB)[field], key)
    keys = sa.func.json_each(document, f"$.{field}").table_valued("key")
    return sa.exists(sa.select(keys.c.key).where(keys.c.key == key))


def releases_with_sets(connection: sa.Connection, digests: Sequence[str]) -> dict[str, list[str]]:
    """Return the releases that have these variable sets, by digest, in the order published."""
    release_model, release, implementation = schema.release_model, schema.release, schema.implementation
    names: dict[str, list[str]] = {digest: [] for digest in digests}
    rows = connection.execute(
        sa.select(release_model.c.digest, implementation.c.name, release.c.version)
        .select_from(release_model)
        .join(schema.variable_set, schema.variable_set.c.digest == release_model.c.digest)
        .join(release)
        .join(implementation)
        .where(release_model.c.model_id == schema.variable_set.c.model_id, schema.variable_set.c.digest.in_(digests))
        .order_by(release.c.seq)
    )
    for digest, name, version in rows:
        names[digest].append(f"{name}@{version}")
    return names


def tokens(connection: sa.Connection, after: Key | None, limit: int) -> Page:
    """Return tokens in the order created: every column except the hash of the secret."""
    table = schema.token
    keys = [table.c.created_at, table.c.id]
    query = sa.select(*keys, *(column for column in table.c if column.name not in {"created_at", "id", "secret_hash"}))
    return page(connection, query, keys, after, limit)


def token(connection: sa.Connection, token_id: str) -> Row | None:
    """Return a token: every column except the hash of the secret."""
    table = schema.token
    columns = [column for column in table.c if column.name != "secret_hash"]
    return connection.execute(sa.select(*columns).where(table.c.id == token_id)).first()


def newest_tokens(connection: sa.Connection, before: Key | None, limit: int, *, valid_at: str | None) -> Page:
    """Return tokens as `tokens` does, the newest first; valid_at: only those that are valid at a time."""
    table = schema.token
    keys = [table.c.created_at, table.c.id]
    query = sa.select(*keys, *(column for column in table.c if column.name not in {"created_at", "id", "secret_hash"}))
    if valid_at is not None:
        query = query.where(table.c.revoked_at.is_(None))
        query = query.where(table.c.expires_at.is_(None) | (table.c.expires_at > valid_at))
    if before is not None:
        query = query.where(sa.tuple_(*keys) < sa.tuple_(*(sa.literal(part) for part in before)))
    rows = connection.execute(query.order_by(*(key.desc() for key in keys)).limit(limit + 1)).all()
    return Page(rows[:limit], tuple(rows[limit - 1][: len(keys)]) if len(rows) > limit else None)


def mirrors(connection: sa.Connection) -> Sequence[Row]:
    """Return the registries that are mirrored into this one: registry, url, seq, link, at."""
    return connection.execute(sa.select(schema.mirror).order_by(schema.mirror.c.registry)).all()


def mirror(connection: sa.Connection, registry: str) -> Row | None:
    """Return how far a registry is mirrored into this one: registry, url, seq (of the last change here), link, at."""
    return connection.execute(sa.select(schema.mirror).where(schema.mirror.c.registry == registry)).first()
