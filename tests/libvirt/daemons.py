"""Two real libvirtds on one machine, each with folders, a host_uuid and processes of its own; VMs move between them."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

PROGRAMS = ("libvirtd", "virsh", "qemu-system-x86_64", "unshare", "setpriv", "nsenter")
# What of a daemon's folder lies over what of the machine, for the daemon alone.
_OVER = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "run": "/run/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}
# libvirtd looks these up before it reads its configuration; only a package that needs systemd creates them.
_USERS = {
    "passwd": ["libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin"],
    "group": ["kvm:x:64054:", "libvirt-qemu:x:64055:", "libvirt:x:64056:"],
}
_LIBVIRTD = """host_uuid = "{uuid}"
unix_sock_rw_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_level = 3
log_outputs = "3:file:{folder}/libvirtd.log"
"""
_QEMU = """user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
migration_port_min = {port}
migration_port_max = {last_port}
"""
# The first process of a daemon's namespace: it mounts, starts libvirtd, and reaps QEMU, which libvirtd itself would
# leave behind. When libvirtd ends, it ends, and the kernel then ends all the rest.
_INIT = r"""set -e
while read -r source target; do mount --bind "$source" "$target"; done < "$1/mounts"
mount -t proc proc /proc
trap 'kill -TERM $pid 2>/dev/null' TERM
set +e
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
  libvirtd -t 0 -p "$1/libvirtd.pid" </dev/null >"$1/libvirtd.out" 2>&1 &
pid=$!
while kill -0 $pid 2>/dev/null; do wait $pid; done
"""
_START_SECONDS = 60
_COMMAND_SECONDS = 120


class Daemon:
    """A libvirtd. folder: what it has for itself; its name must be short, for sockets are in it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.uri = f"qemu+unix:///system?socket={folder}/run/libvirt-sock"
        self._process: subprocess.Popen[bytes] | None = None
        for name in (*_OVER, "etc/hooks", "log/qemu"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "etc/libvirtd.conf").write_text(_LIBVIRTD.format(uuid=uuid4(), folder=folder))
        (folder / "etc/qemu.conf").write_text(_QEMU.format(port=port, last_port=port + 9))
        mounts = [(folder / name, over) for name, over in _OVER.items()]
        for name, needed in _USERS.items():
            existing = Path("/etc", name).read_text(encoding="utf-8")
            known = {line.partition(":")[0] for line in existing.splitlines()}
            added = [line for line in needed if line.partition(":")[0] not in known]
            (folder / name).write_text(existing + "".join(f"{line}\n" for line in added))
            mounts.append((folder / name, f"/etc/{name}"))
        (folder / "mounts").write_text("".join(f"{source} {over}\n" for source, over in mounts))

    def hook(self, script: str) -> None:
        """Install the hook for QEMU. A daemon that has started without one does not call it."""
        hook = self.folder / "etc/hooks/qemu"
        hook.write_text(script)
        hook.chmod(0o755)

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        for over in _OVER.values():
            Path(over).mkdir(parents=True, exist_ok=True)
        with (self.folder / "init.out").open("wb") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL",
                 "--propagation", "private", "bash", "-c", _INIT, "init", str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while self.virsh("uri").returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                logs = (self.folder / name for name in ("init.out", "libvirtd.out", "libvirtd.log"))
                message = "\n".join(log.read_text(errors="replace") for log in logs if log.exists())
                raise TimeoutError(message)
            time.sleep(0.05)

    def virsh(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run virsh; return what it printed, and its exit status."""
        return subprocess.run(
            ["virsh", "--quiet", "--connect", self.uri, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        )

    def domains(self) -> list[str]:
        """Return the names of the VMs that run."""
        return self.virsh("list", "--name").stdout.split()

    def create(self, xml: str) -> None:
        """Start a VM."""
        file = self.folder / "domain.xml"
        file.write_text(xml)
        created = self.virsh("create", str(file))
        assert created.returncode == 0, created.stderr

    def migrate(self, domain: str, to: "Daemon") -> "subprocess.CompletedProcess[str]":
        """Move a running VM to another daemon."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        options = ("--live", "--listen-address", "127.0.0.1", "--migrateuri", address)
        return self.virsh("migrate", *options, "--domain", domain, "--desturi", to.uri)

    def stop(self) -> None:
        """End the daemon and all that it has started."""
        if self._process is None:
            return
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for child in children.read_text().split() if children.exists() else []:
            os.kill(int(child), signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None


def missing() -> str:
    """Return why no libvirtd can be started here, empty if it can."""
    programs = [program for program in PROGRAMS if shutil.which(program) is None]
    if programs:
        return f"not installed: {', '.join(programs)}"
    if os.geteuid() != 0:
        return "only root can give a libvirtd folders of its own"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"],
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else "this machine allows no namespaces of its own"


@contextmanager
def two_daemons(folder: Path, hook: str) -> Iterator[tuple[Daemon, Daemon]]:
    """Yield two running daemons with a hook, in which {name} is what the daemon is called: a or b."""
    daemons = Daemon(folder / "a", 49200), Daemon(folder / "b", 49300)
    try:
        for name, daemon in zip("ab", daemons, strict=True):
            daemon.hook(hook.format(name=name))
            daemon.start()
        yield daemons
    finally:
        for daemon in daemons:
            daemon.stop()
