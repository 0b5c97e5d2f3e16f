"""The load: wrk, a process of its own, sends requests of which no two are alike."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

_SCRIPT = Path(__file__).with_name("load.lua")
# Numbers behind one another: no run repeats a question of another one.
_taken = count(1_000_000, 100_000)


@dataclass(frozen=True, slots=True)
class Request:
    """A request; `{#}` in the path and the body stands for a number of its own."""

    method: str
    path: str
    body: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of the load found: requests a second, seconds by percentile."""

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def write(requests: Iterable[Request], path: Path) -> Path:
    """Write requests to a file, for the load to be read."""
    lines = (f"{each.method}\t{each.path}\t{each.tag}\t{each.body}" for each in requests)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def run(url: str, requests: Path, connections: int, seconds: float) -> Run:
    """Send requests for so long over so many connections; raises RuntimeError if one is not answered as it should."""
    wrk = shutil.which("wrk")
    if wrk is None:
        message = "the benchmark needs wrk: apt-get install wrk"
        raise RuntimeError(message)
    sizes = ["--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s", "--timeout", "60s"]
    command = [wrk, *sizes, "--latency", "--script", str(_SCRIPT), url, "--", str(requests), str(next(_taken))]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(finished.stderr)
    if found.pop("failed") or not found["requests"]:
        message = f"{url} does not answer as it should: {finished.stdout}"
        raise RuntimeError(message)
    return Run(**found)
