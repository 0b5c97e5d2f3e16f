"""An OIDC issuer on this machine, with a key set, discovery, and the faults that an issuer can have."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

AUDIENCE = "https://registry.example"
CLAIMS = {"repository": "vendor-a/firmware", "ref": "refs/heads/main"}
_DISCOVERY = "/.well-known/openid-configuration"
# Keys take long to make.
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "other"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})


@dataclass
class Issuer:
    """A running issuer. Its answers can be changed: `configuration`, `keys`, `delay`, `status`, `location`."""

    url: str
    keys: Any = field(default_factory=lambda: {"keys": [key.as_dict(private=False) for key in (RSA, EC)]})
    configuration: dict[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    status: int = 200
    location: str | None = None
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.configuration = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Return the claims of a run's token; None takes a claim out."""
        now = int(time.time())
        times = {"iat": now, "nbf": now, "exp": now + 300}
        run = {"run_id": "16293", "run_attempt": "1", "jti": f"{time.monotonic_ns()}", "sha": "8fe1b322"}
        given = {"iss": self.url, "aud": AUDIENCE, **times, **CLAIMS, **run, **claims}
        return {name: value for name, value in given.items() if value is not None}

    def token(self, key: Any = RSA, header: Any = None, **claims: Any) -> str:
        """Return a signed token of a run."""
        algorithm = "ES256" if isinstance(key, ECKey) else "RS256"
        full = {"alg": algorithm, "kid": key.kid, **(header or {})}
        return jwt.encode(
            {name: value for name, value in full.items() if value is not None},
            self.claims(**claims),
            key,
            algorithms=[full["alg"]],
        )


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """Yield an issuer on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        issuer: ClassVar[Issuer]

        def do_GET(self) -> None:
            issuer = self.issuer
            issuer.requests.append(self.path)
            time.sleep(issuer.delay)
            document = issuer.configuration if self.path == _DISCOVERY else issuer.keys
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(issuer.status)
            if issuer.location is not None:
                self.send_header("Location", issuer.location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_arguments: object) -> None:
            """Print nothing: the registry closes a connection whose answer is too large or too late."""

    with Server(("127.0.0.1", 0), Handler) as server:
        Handler.issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Handler.issuer
        server.shutdown()
        thread.join()
