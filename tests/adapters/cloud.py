"""A Nova in a process of its own (nova_cloud.py), driven by tests."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.running.conftest import ROOT

NOVA = ROOT / "var" / "nova"
needs_nova = pytest.mark.skipif(not NOVA.exists(), reason="there is no Nova in var/nova: .ci/nova installs it")


@dataclass(frozen=True)
class Done:
    """What came of a request: the server, and what Nova logged meanwhile."""

    server: Any
    log: Sequence[str]

    @property
    def host(self) -> str | None:
        """Return the host that the server is on."""
        host: str | None = self.server["host"]
        return host

    @property
    def reasons(self) -> list[str]:
        """Return what the filter logged, without the prefix of each line."""
        return [
            line.partition("device profiles: ")[2].replace(self.server["id"], "SERVER")
            for line in self.log
            if "device profiles: " in line
        ]

    def was_refused(self) -> bool:
        """Return whether Nova found no host, in the way that it says so itself; no exception came from the filter."""
        assert not any("nova.py" in line or "Traceback" in line for line in self.log), self.log
        assert "INFO nova.filters: Filter DeviceProfileFilter returned 0 hosts" in self.log, (self.server, self.log)
        return True


class Cloud:
    """A Nova in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", errors: Path) -> None:
        self._process = process
        self._errors = errors
        self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._errors.read_text()[-10_000:]
        return json.loads(line)

    def send(self, name: str, **arguments: Any) -> None:
        """Begin a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([name, arguments])}\n")
        self._process.stdin.flush()

    def done(self) -> Done:
        """Wait for the command that was begun."""
        answer = self._read()
        return Done(answer["result"], answer["log"])

    def do(self, name: str, **arguments: Any) -> Done:
        """Execute a command."""
        self.send(name, **arguments)
        return self.done()

    def flavor(self, extra_specs: dict[str, str]) -> str:
        """Create a flavor."""
        identifier: str = self.do("flavor", extra_specs=extra_specs).server
        return identifier

    def image(self, properties: dict[str, str]) -> str:
        """Create an image."""
        identifier: str = self.do("image", properties=properties).server
        return identifier

    def boot(self, flavor: str, **more: Any) -> Done:
        """Create a server."""
        return self.do("boot", flavor=flavor, **more)

    def live_migrate(self, server: Done, host: str | None = None) -> Done:
        """Migrate a server; host: where the administrator wants it."""
        return self.do("act", server=server.server["id"], action="os-migrateLive", host=host, block_migration="auto")

    def act(self, server: Done, action: str, **arguments: Any) -> Done:
        """Do something else with a server."""
        return self.do("act", server=server.server["id"], action=action, **arguments)


@contextmanager
def nova_in(
    folder: Path,
    configuration: Sequence[Path],
    variables: Mapping[str, str],
    python: Path = NOVA / "bin" / "python",
    *,
    has_threads: bool = True,
) -> Iterator[Cloud]:
    """Yield a Nova that reads these files of configuration, with threads or under eventlet.

    variables: further ones of its environment. python: the one that it runs in.
    """
    own = folder / "own.conf"
    own.write_text(f"[wsgi]\napi_paste_config = {NOVA}/etc/nova/api-paste.ini\n")
    environment = {**os.environ, **variables, **({"OS_NOVA_DISABLE_EVENTLET_PATCHING": "1"} if has_threads else {})}
    errors = folder / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen(
            # Without the folder of the script, whose files can have the names of packages.
            [python, "-P", Path(__file__).with_name("nova_cloud.py"), own, *configuration],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    try:
        yield Cloud(process, errors)
    finally:
        process.kill()
        process.communicate()
