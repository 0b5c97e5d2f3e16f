"""Settings, from environment variables that begin with REGISTRY_."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FilePath, HttpUrl, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from app import DEFAULT_URL
from app.signing.key import PrivateKey, read_private_keys

PREFIX = "REGISTRY_"
_OF_FILE = "_FILE"
# What the client commands take, beside ClientSettings.
_OF_COMMANDS = frozenset({"REGISTRY_TRUST", "REGISTRY_SIGN", "REGISTRY_SOURCE_TOKEN"})
# What the schedulers' adapters take, in addition to ClientSettings: a test compares them with AdapterSettings.
_OF_ADAPTERS = frozenset(
    f"{PREFIX}ADAPTER_{name}" for name in ("ASK_SECONDS", "LOOK_SECONDS", "POLICY", "ALLOW_MUST_BE_SET")
)
# Kubernetes and Docker set these in containers where a service is called "registry".
_OF_PLATFORMS = re.compile(r"REGISTRY_(SERVICE_(HOST|PORT.*)|PORT(_.*)?|NAME|ENV_.*)")
# The environment variable that names the folder in which several workers store their counters, so that each of them can
# report the sum. The client library of Prometheus reads it, too.
COUNTS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def _visible(token: SecretStr) -> SecretStr:
    """Return the token if every client can send it (RFC 6750, 2.1); raises ValueError otherwise."""
    secret = token.get_secret_value()
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        message = "must have only visible ASCII characters"
        raise ValueError(message)
    return token


def _private_keys(text: SecretStr) -> SecretStr:
    """Return the text of private keys if they can be used together; raises ValueError otherwise."""
    read_private_keys(text.get_secret_value())
    return text


def _file_of_keys(file: Path) -> Path:
    """Return a file if it contains private keys that can be used together; raises ValueError otherwise."""
    try:
        read_private_keys(file.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise ValueError(message) from error
    return file


class _FromFiles(PydanticBaseSettingsSource):
    """Takes the value of a setting from the file that REGISTRY_<FIELD>_FILE names: containers get secrets as files."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the content of the file, without white space around it; None without a file."""
        del field
        variable = f"{PREFIX}{field_name.upper()}{_OF_FILE}"
        path = os.environ.get(variable)
        # A setting that is the name of a file is a setting of its own.
        if path is None or f"{field_name}_file" in self.settings_cls.model_fields:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, ValueError) as error:
            message = f"{variable}: {path} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}"
            raise SettingsError(message) from error

    def __call__(self) -> dict[str, Any]:
        """Return all settings that are in files."""
        read = (self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items())
        return {name: value for value, name, _ in read if value is not None}


class Settings(BaseSettings):
    """The settings of the service: each field is the environment variable REGISTRY_<FIELD>, or a file that it names."""

    # Errors do not quote values: some of them are secrets.
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Also take settings from files, after the environment."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _FromFiles(settings_cls)

    database_url: str = Field(
        default="sqlite:///var/registry.db",
        description="sqlite:///<path> or postgresql://…, without the name of a driver",
    )
    database_replica_url: str | None = Field(
        default=None,
        description="a replica of the PostgreSQL database; it serves reads while it is up to date, and can fail",
    )
    database_pool_size: int = Field(
        default=10,
        description="connections that each worker keeps open to each database; it opens up to twice as many",
        ge=2,
        le=1000,
    )
    database_prepares: bool = Field(
        default=True,
        description="whether to prepare statements in PostgreSQL; false behind a connection pooler in transaction mode",
    )
    database_lock_seconds: int = Field(
        default=30,
        description="how long a request waits for its turn to write, or for another lock of the database; 0: no limit",
        ge=0,
        le=86400,
    )
    database_statement_seconds: int = Field(
        default=60, description="how long PostgreSQL works on one statement of a request; 0: no limit", ge=0, le=86400
    )
    database_idle_seconds: int = Field(
        default=300,
        description="how long PostgreSQL keeps the transaction of a worker that has stopped; 0: no limit",
        ge=0,
        le=86400,
    )
    database_away_seconds: int = Field(
        default=300,
        description="how long questions are answered from memory while the database is away; such answers say `as_of`; "
        "0: not at all",
        ge=0,
        le=86400,
    )
    memory_megabytes: int = Field(
        default=128, description="approximate size of the content that each worker keeps in memory", ge=8, le=65536
    )
    admin_token: Annotated[SecretStr, AfterValidator(_visible)] | None = Field(
        default=None,
        description="the operator's admin token, visible ASCII characters; without it, nobody can create tokens",
        min_length=8,
    )
    read: Literal["open", "token"] = Field(
        default="open", description="who can read: open: everybody; token: clients with a token of any role"
    )
    read_drafts: Literal["open", "token"] = Field(
        default="open", description="who can read drafts, as with read; open: whoever can read the rest"
    )
    read_hosts: Literal["open", "token"] = Field(
        default="open",
        description="who can read what hosts run, ask about registered hosts and follow the whole feed, as with read",
    )
    host_stale_hours: int = Field(
        default=24,
        description="a host that has not reported for this many hours is stale: answers about it warn, and pages mark "
        "it; 0: never",
        ge=0,
        le=87600,
    )
    log_requests: bool = Field(default=True, description="whether every request is logged to standard error")
    log_format: Literal["text", "json"] = Field(
        default="text", description="how requests are logged: text for people, json for programs"
    )
    max_body_bytes: int = Field(default=32 * 1024 * 1024, description="the limit of a request body, in bytes", ge=1024)
    max_question_bytes: int = Field(
        default=1024 * 1024, description="the limit of the body of a question, in bytes", ge=1024
    )
    max_answer_bytes: int = Field(
        default=256 * 1024 * 1024, description="the limit of an answer to a question, in bytes", ge=1024
    )
    vendor_megabytes: int = Field(
        default=1024,
        description="how much the publications and drafts of a vendor can take; admins can exceed it; 0: no limit",
        ge=0,
    )
    hosts: list[str] = Field(
        default=[],
        description='the names that the service answers to in the Host header, as JSON: ["registry.example"]; a name '
        "that begins with *. stands for all below it; empty: any",
    )
    max_steps: int = Field(
        default=700_000,
        description="the work that a question can take, in steps of one to three microseconds",
        ge=10_000,
    )
    questions_at_once: int = Field(
        default=2,
        description="long questions that each worker answers at the same time; of several, one is left for clients "
        "with a token",
        ge=1,
        le=100,
    )
    questions_per_client: int = Field(
        default=4,
        description="long questions that an address can have at a time, of clients without a token; those that wait "
        "for their turn count",
        ge=1,
    )
    token_questions_per_client: int = Field(default=16, description="the same for each token", ge=1)
    streams_per_client: int = Field(
        default=16, description="requests that wait for changes which a client can have at a time", ge=1
    )
    requests_per_minute: int = Field(
        default=30_000,
        description="requests that each worker answers for an address in a minute, of clients without a token; 0: any "
        "number",
        ge=0,
    )
    token_requests_per_minute: int = Field(default=120_000, description="the same for each token; 0: any number", ge=0)
    wrong_tokens_per_minute: int = Field(
        default=30, description="requests with a wrong token that an address can send in a minute; 0: any number", ge=0
    )
    contact_name: str = Field(
        default="the operator of this registry",
        description="who answers questions about this registry, for /openapi.json",
        min_length=1,
        max_length=200,
    )
    contact_url: HttpUrl | None = Field(default=None, description="the address of a page of theirs")
    contact_email: str | None = Field(
        default=None, description="their e-mail address", pattern=r"^[^@\s]+@[^@\s]+$", max_length=320
    )
    trusted_proxies: list[str] = Field(
        default=[],
        description='addresses or networks of the proxies whose X-Forwarded-* headers count, as JSON: ["10.0.0.0/8"]',
    )
    grace_seconds: int = Field(
        default=6, description="how long requests can still run after SIGTERM, in seconds", ge=1, le=3600
    )
    drain_seconds: int = Field(
        default=0,
        description="how long to go on after SIGTERM before connections are refused, in seconds; /readyz answers 503 "
        "meanwhile",
        ge=0,
        le=3600,
    )
    signing_key: Annotated[SecretStr, AfterValidator(_private_keys)] | None = Field(
        default=None,
        description="the private key that signs the feed; several of one name, separated by white space, all sign it",
    )
    signing_key_file: Annotated[FilePath, AfterValidator(_file_of_keys)] | None = Field(
        default=None, description="a file with such keys, instead of signing_key; one on each line"
    )

    @cached_property
    def signing_keys(self) -> Sequence[PrivateKey]:
        """The keys that sign the feed; empty if it is unsigned."""
        if self.signing_key_file is not None:
            return read_private_keys(self.signing_key_file.read_text(encoding="utf-8"))
        return read_private_keys(self.signing_key.get_secret_value()) if self.signing_key is not None else ()


class ClientSettings(BaseSettings):
    """The settings of the client commands; each field is the environment variable REGISTRY_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="REGISTRY_", frozen=True)

    url: str = Field(default=DEFAULT_URL, description="the address of the registry")
    token: SecretStr | None = Field(default=None, description="the token of the requests")
    id_token: SecretStr | None = Field(
        default=None, description="the OIDC token of the pipeline's run, to be exchanged for a token of the registry"
    )


def unknown_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Iterate over variables that look like settings and are not, with the names that there are."""
    fields = [*Settings.model_fields, *ClientSettings.model_fields]
    known = {f"{PREFIX}{name.upper()}" for name in fields} | _OF_COMMANDS | _OF_ADAPTERS
    of_files = {f"{PREFIX}{name.upper()}{_OF_FILE}" for name in Settings.model_fields}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known | of_files and not _OF_PLATFORMS.fullmatch(name):
            yield name, frozenset(known)
