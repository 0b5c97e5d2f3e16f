"""Settings, from environment variables that begin with REGISTRY_."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

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


class Settings(BaseSettings):
    """The settings of the service; each field is the environment variable REGISTRY_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="REGISTRY_", frozen=True)

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
    log_requests: bool = Field(default=True, description="whether every request is logged to standard error")
    log_format: Literal["text", "json"] = Field(
        default="text", description="how requests are logged: text for people, json for programs"
    )
    max_body_bytes: int = Field(default=32 * 1024 * 1024, description="the limit of a request body, in bytes", ge=1024)
    max_question_bytes: int = Field(
        default=2 * 1024 * 1024, description="the limit of the body of a question, in bytes", ge=1024
    )
    max_answer_bytes: int = Field(
        default=512 * 1024 * 1024, description="the limit of an answer to a question, in bytes", ge=1024
    )
    max_steps: int = Field(
        default=700_000,
        description="the work that a question can take, in steps of about a microsecond",
        ge=10_000,
    )
    questions_at_once: int = Field(
        default=3,
        description="long questions that each worker answers at the same time; one of them is left for clients with a "
        "token",
        ge=1,
        le=100,
    )
    questions_per_client: int = Field(
        default=4, description="long questions that a client can have at a time, those that wait included", ge=1
    )
    streams_per_client: int = Field(
        default=16, description="requests that wait for changes which a client can have at a time", ge=1
    )
    requests_per_minute: int = Field(
        default=6_000,
        description="requests that each worker answers for an address in a minute, of clients without a token; 0: any "
        "number",
        ge=0,
    )
    token_requests_per_minute: int = Field(default=60_000, description="the same for each token; 0: any number", ge=0)
    wrong_tokens_per_minute: int = Field(
        default=30, description="requests with a wrong token that an address can send in a minute; 0: any number", ge=0
    )
    trusted_proxies: list[str] = Field(
        default=[],
        description='addresses or networks of the proxies whose X-Forwarded-* headers count, as JSON: ["10.0.0.0/8"]',
    )
    grace_seconds: int = Field(
        default=8, description="how long requests can still run after SIGTERM, in seconds", ge=1, le=3600
    )
    drain_seconds: int = Field(
        default=0,
        description="how long to go on after SIGTERM before connections are refused, in seconds; /readyz answers 503 "
        "meanwhile",
        ge=0,
        le=3600,
    )


class ClientSettings(BaseSettings):
    """The settings of the client commands; each field is the environment variable REGISTRY_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="REGISTRY_", frozen=True)

    url: str = Field(default="http://127.0.0.1:8000", description="the address of the registry")
    token: SecretStr | None = Field(default=None, description="the token of the requests")
