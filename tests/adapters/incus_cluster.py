"""A cluster of real Incus on this machine, from var/incus (.ci/incus): its daemons see a network of their own."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from app.adapters.incus import LEASE_SECONDS
from tests.running.conftest import ROOT

ROOT_OF_INCUS = ROOT / "var" / "incus" / "root"
_SECONDS = 90
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# The pool needs nothing of the machine. Instances are empty containers: they are placed and moved, never started.
_START = """
set -eu
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/run"
exec chroot "$1" /bin/sh -eu -c '
  mkdir -p /run/lock /var/log/incus
  ip link set lo up
  folder=$1; shift
  first=$1
  address=2
  for member; do
    export INCUS_DIR=$folder/$member
    mkdir -p "$INCUS_DIR"
    /usr/libexec/incus/incusd >"$folder/$member.log" 2>&1 &
    /usr/libexec/incus/incusd waitready --timeout 60
    if [ "$member" = "$first" ]; then
      incus config set core.https_address 127.0.0.$address:8443
      incus cluster enable "$member"
      incus storage create pool dir
      incus profile device add default root disk pool=pool path=/
    else
      token=$(INCUS_DIR=$folder/$first incus cluster add "$member" | tail -1)
      printf "cluster: {enabled: true, server_address: 127.0.0.%s:8443, server_name: %s, cluster_token: %s}" \\
        "$address" "$member" "$token" | incus admin init --preseed
    fi
    address=$((address + 1))
  done
  touch "$folder/ready"
  wait
' start "$2" $3
"""


def missing() -> str | None:
    """Return why there can be no cluster here; None: there can."""
    if not (ROOT / "var" / "incus" / "unpacked").exists():
        return "there is no Incus in var/incus (.ci/incus)"
    if time.clock_gettime(time.CLOCK_BOOTTIME) < LEASE_SECONDS:
        return "the machine, whose uptime is the members', started less than a lease ago"
    if os.geteuid() != 0:
        return "Incus needs root"
    allowed = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, check=False
    )
    return None if allowed.returncode == 0 else f"no namespaces here: {allowed.stderr.decode().strip()}"


@dataclass(frozen=True)
class Cluster:
    """A running cluster. folder: what its daemons write, with their logs. first: the member that was first."""

    folder: Path
    first: str

    @property
    def socket(self) -> Path:
        """The socket of the first member."""
        return self.folder / self.first / "unix.socket"

    @property
    def inside(self) -> Path:
        """The folder of the first member, as the daemons see it."""
        return Path("/") / self.folder.relative_to(ROOT_OF_INCUS) / self.first

    def incus(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command incus on the first member."""
        return subprocess.run(
            ["chroot", str(ROOT_OF_INCUS), "incus", *arguments],
            env={"PATH": PATH, "INCUS_DIR": str(self.inside), "HOME": "/root"},
            input=text,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def logged(self) -> str:
        """Return what all members have logged."""
        return "".join(path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("*.log")))


@contextmanager
def running(members: Sequence[str]) -> Iterator[Cluster]:
    """Yield a cluster with these members; nothing of it is left at the end."""
    # In the folder that the daemons see as their root; short, for a socket's path is.
    (ROOT_OF_INCUS / "t").mkdir(exist_ok=True)
    folder = Path(mkdtemp(dir=ROOT_OF_INCUS / "t"))
    inside = Path("/") / folder.relative_to(ROOT_OF_INCUS)
    log = folder / "start.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child"),
                *("sh", "-c", _START, "start", str(ROOT_OF_INCUS), str(inside), " ".join(members)),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": PATH, "HOME": "/root"},
        )
    try:
        deadline = time.monotonic() + _SECONDS
        while not (folder / "ready").exists():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")  # noqa: PT018
            time.sleep(0.1)
        yield Cluster(folder, members[0])
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)
