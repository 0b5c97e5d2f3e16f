"""The settings of adapters that are processes of their own, from environment variables that begin with REGISTRY_."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from app import DEFAULT_URL
from app.adapters.asking import ASK_SECONDS, Asker
from app.adapters.following import LOOK_SECONDS, WAIT_SECONDS
from app.client import Registry
from app.wire.compatibility import Policy

# The registry answers only at the end of a wait.
_ANSWER_SECONDS = 10


class AdapterSettings(BaseSettings):
    """The settings of an adapter; each field is the environment variable REGISTRY_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="REGISTRY_", frozen=True, hide_input_in_errors=True)

    url: str = Field(default=DEFAULT_URL, description="the address of the registry")
    token: SecretStr | None = Field(default=None, description="the token of the requests")
    adapter_ask_seconds: float = Field(
        default=ASK_SECONDS,
        description="how long an adapter waits for the answer to a question; without one, no host is allowed",
        gt=0,
        le=300,
    )
    adapter_look_seconds: float = Field(
        default=LOOK_SECONDS,
        description="an adapter that follows the feed looks at everything at least every this many seconds",
        ge=1,
        le=86400,
    )
    adapter_policy: Policy = Field(
        default=Policy.STRICT,
        description="strict: a host must list the device's profile; permissive: only variables are compared",
    )
    adapter_allow_must_be_set: bool = Field(
        default=False,
        description="whether a host is allowed where variables must be set explicitly, in addition to the profile; "
        "only if whoever starts the VM sets them",
    )

    def asker(self) -> Asker:
        """Return what asks questions with these settings."""
        return Asker(
            self.url,
            self._token(),
            seconds=self.adapter_ask_seconds,
            policy=self.adapter_policy,
            allow_must_be_set=self.adapter_allow_must_be_set,
        )

    def registry(self) -> Registry:
        """Return a client to follow the feed with: a single attempt, and no longer than a wait of the feed."""
        return Registry(self.url, self._token(), retry_seconds=0, timeout_seconds=WAIT_SECONDS + _ANSWER_SECONDS)

    def _token(self) -> str | None:
        # An empty environment variable means no token.
        return (self.token.get_secret_value() if self.token is not None else "").strip() or None
