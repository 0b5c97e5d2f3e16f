"""The load: a wrk process sends requests, no two of them equal."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

_SCRIPT = Path(__file__).with_name("load.lua")
# The first number of each run; no run repeats a question of another run.
_first_numbers = count(1_000_000, 100_000)


@dataclass(frozen=True, slots=True)
class Request:
    """A request; wrk replaces `{#}` in the path and the body with a number that no other request has."""

    method: str
    path: str
    body: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one run: number of requests, duration, and response times in seconds."""

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Return the requests per second."""
        return self.requests / self.seconds


def write(requests: Iterable[Request], path: Path) -> Path:
    """Write requests to a file that load.lua reads."""
    lines = (f"{request.method}\t{request.path}\t{request.tag}\t{request.body}" for request in requests)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def run(url: str, requests: Path, connections: int, seconds: float) -> Run:
    """Send requests for some seconds over some connections; raise RuntimeError if an answer is an error."""
    wrk = shutil.which("wrk")
    if wrk is None:
        message = "the benchmark needs wrk: apt-get install wrk"
        raise RuntimeError(message)
    sizes = ["--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s", "--timeout", "60s"]
    command = [wrk, *sizes, "--latency", "--script", str(_SCRIPT), url, "--", str(requests), str(next(_first_numbers))]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(finished.stderr)
    if figures.pop("failed") or not figures["requests"]:
        message = f"{url} answered with errors: {finished.stdout}"
        raise RuntimeError(message)
    return Run(**figures)
