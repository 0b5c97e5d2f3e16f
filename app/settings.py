"""Settings, from environment variables that begin with REGISTRY_."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

# The environment variable that names the folder where several workers keep what they count, so that each of them
# answers for all; the client library of Prometheus reads it, too.
COUNTS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def _visible(token: SecretStr) -> SecretStr:
    """Return a token that every client can send (RFC 6750, 2.1)."""
    secret = token.get_secret_value()
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        message = "has other than visible ASCII characters"
        raise ValueError(message)
    return token


class Settings(BaseSettings):
    """What an operator may set; each field is the environment variable REGISTRY_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="REGISTRY_", frozen=True)

    database_url: str = Field(
        default="sqlite:///var/registry.db", description="sqlite:///<path> or postgresql://…, without a driver's name"
    )
    database_replica_url: str | None = Field(
        default=None,
        description="a replica of a PostgreSQL database: it takes reads as far as it is up to date, and may be lost",
    )
    database_pool_size: int = Field(
        default=10,
        description="connections that each worker keeps open to each database; twice as many may be open at a time",
        ge=2,
        le=1000,
    )
    database_prepares: bool = Field(
        default=True,
        description="whether PostgreSQL keeps statements prepared; no behind a pooler that gives each transaction "
        "another connection",
    )
    memory_megabytes: int = Field(
        default=128, description="about how much of the registry each worker keeps in memory", ge=8, le=65536
    )
    admin_token: Annotated[SecretStr, AfterValidator(_visible)] | None = Field(
        default=None,
        description="the token that may write, visible ASCII characters; without one, nobody may",
        min_length=8,
    )
    read: Literal["open", "token"] = Field(
        default="open", description="who may read: open for everybody, token for whoever has a token of any role"
    )
    max_body_bytes: int = Field(default=32 * 1024 * 1024, description="the largest request body, in bytes", ge=1024)


class ClientSettings(BaseSettings):
    """What the client commands read; each field is the environment variable REGISTRY_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="REGISTRY_", frozen=True)

    url: str = Field(default="http://127.0.0.1:8000", description="the registry to talk to")
    token: SecretStr | None = Field(default=None, description="the token to write with")
