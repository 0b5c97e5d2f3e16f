"""A highly available PostgreSQL of this machine's packages: Patroni and etcd, HAProxy and PgBouncer in front of it."""

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

# Of Debian: patroni, etcd-server, haproxy, pgbouncer, postgresql.
PROGRAMS = ("patroni", "etcd", "haproxy", "pgbouncer")
_POSTGRESQL = Path("/usr/lib/postgresql")
_USER = "postgres"
_START_SECONDS = 60
_NODES = ("a", "b", "c")
# A primary that is lost is noticed after `ttl` seconds. Patroni's defaults are 30, 10 and 10.
PATIENCE = {"ttl": 8, "loop_wait": 1, "retry_timeout": 3}


def missing() -> str | None:
    """Return what this machine lacks for a cluster, None if it has everything."""
    programs = [name for name in PROGRAMS if shutil.which(name) is None]
    if not list(_POSTGRESQL.glob("*/bin/postgres")):
        programs.append("postgresql")
    if programs:
        return f"not installed: {', '.join(programs)} (Debian: patroni etcd-server haproxy pgbouncer postgresql)"
    return None if os.geteuid() == 0 else f"only root can start processes as the user {_USER}"


class Cluster:
    """Three nodes of PostgreSQL, of which Patroni keeps one the primary and one a synchronous standby."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user = pwd.getpwnam(_USER)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = iter(_free_ports(3 + 2 * len(_NODES) + 2))
        self._etcd, self.writes, self.reads = (next(self._ports) for _ in range(3))
        self._nodes = {name: (next(self._ports), next(self._ports)) for name in _NODES}
        self._pooled, self._peer = next(self._ports), next(self._ports)
        os.chown(folder, self._user.pw_uid, self._user.pw_gid)

    @property
    def url(self) -> str:
        """The URL of the primary, whichever it is, through PgBouncer."""
        return f"postgresql://{_USER}@127.0.0.1:{self._pooled}/postgres"

    @property
    def replica_url(self) -> str:
        """The URL of a standby."""
        return f"postgresql://{_USER}@127.0.0.1:{self.reads}/postgres"

    def start(self) -> None:
        """Start everything, and wait for a primary with a synchronous standby."""
        self._start(
            "etcd",
            *("etcd", "--data-dir", str(self._folder / "etcd"), "--unsafe-no-fsync"),
            *("--listen-client-urls", f"http://127.0.0.1:{self._etcd}"),
            *("--advertise-client-urls", f"http://127.0.0.1:{self._etcd}"),
            *("--listen-peer-urls", f"http://127.0.0.1:{self._peer}"),
        )
        self._start("haproxy", "haproxy", "-f", self._written("haproxy.cfg", self._haproxy()))
        self._start("pgbouncer", "pgbouncer", self._written("pgbouncer.ini", self._pgbouncer()))
        for name in _NODES:
            self.start_node(name)
        self.wait_until(lambda: {"leader", "sync_standby"} <= set(self.roles().values()))

    def start_node(self, name: str) -> None:
        """Start a node."""
        self._start(name, "patroni", self._written(f"{name}.yml", json.dumps(self._patroni(name))))

    def roles(self) -> Mapping[str, str]:
        """Return the roles of the nodes that run, as Patroni says."""
        for _, port in self._nodes.values():
            with suppress(httpx.HTTPError, KeyError, ValueError):
                members = httpx.get(f"http://127.0.0.1:{port}/cluster", timeout=2).json()["members"]
                return {
                    member["name"]: member["role"] for member in members if member["state"] in {"running", "streaming"}
                }
        return {}

    def primary(self) -> str:
        """Return the node that is the primary."""
        return next(name for name, role in self.roles().items() if role == "leader")

    def kill(self, name: str) -> None:
        """Kill a node at once, as the loss of its machine would: its Patroni first, so that nothing is tidied up."""
        patroni = self._processes.pop(name)
        postmaster = psutil.Process(int((self._data(name) / "postmaster.pid").read_text().split()[0]))
        patroni.kill()
        _kill(postmaster)
        patroni.wait()

    def ask(self, question: str) -> Any:
        """Return the only value that a statement returns on the primary."""
        with psycopg.connect(f"postgresql://{_USER}@127.0.0.1:{self.writes}/postgres") as connection:
            row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return row[0]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; raises TimeoutError with what the nodes logged."""
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                logs = {log.stem: log.read_text()[-2000:] for log in self._folder.glob("*.log")}
                message = f"the cluster is not there: {self.roles()}, {logs}"
                raise TimeoutError(message)
            time.sleep(0.1)

    def stop(self) -> None:
        """End all processes, those of PostgreSQL included, whatever state they are in."""
        for process in self._processes.values():
            process.kill()
            process.wait()
        # PostgreSQL outlives its Patroni, as do the programs with which that prepares a node.
        while remaining := list(self._others()):
            for other in remaining:
                _kill(other)

    def _others(self) -> Iterator[psutil.Process]:
        """Iterate over the processes that work in this cluster's folder."""
        for process in psutil.process_iter(["cmdline", "status"]):
            if process.info["status"] != psutil.STATUS_ZOMBIE and str(self._folder) in " ".join(
                process.info["cmdline"] or ()
            ):
                yield process

    def _data(self, name: str) -> Path:
        return self._folder / f"data-{name}"

    def _start(self, name: str, *command: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                user=self._user.pw_uid,
                group=self._user.pw_gid,
                extra_groups=[],
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder), "LC_ALL": "C.UTF-8"},
                stdout=log,
                stderr=log,
            )

    def _written(self, name: str, text: str) -> str:
        file = self._folder / name
        file.write_text(text)
        os.chown(file, self._user.pw_uid, self._user.pw_gid)
        return str(file)

    def _patroni(self, name: str) -> dict[str, Any]:
        port, rest = self._nodes[name]
        passwords = {
            "superuser": {"username": _USER, "password": "unused"},
            "replication": {"username": "replicator", "password": "unused"},
        }
        return {
            "scope": "registry",
            "name": name,
            "restapi": {"listen": f"127.0.0.1:{rest}", "connect_address": f"127.0.0.1:{rest}"},
            "etcd3": {"host": f"127.0.0.1:{self._etcd}"},
            "bootstrap": {
                "dcs": {
                    **PATIENCE,
                    # A publication that is acknowledged is on two nodes, and only one of these two is promoted.
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True},
                },
                "initdb": ["data-checksums", {"encoding": "UTF8"}, {"auth-host": "trust"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{port}",
                "connect_address": f"127.0.0.1:{port}",
                "data_dir": str(self._data(name)),
                "bin_dir": str(max(_POSTGRESQL.glob("*/bin/postgres")).parent),
                "authentication": passwords,
                "pg_hba": [
                    "local all all trust",
                    "host all all 127.0.0.1/32 trust",
                    "host replication all 127.0.0.1/32 trust",
                ],
                "parameters": {
                    "unix_socket_directories": str(self._folder),
                    "shared_buffers": "32MB",
                    "max_connections": 200,
                },
                "basebackup": [{"checkpoint": "fast"}],
            },
        }

    def _haproxy(self) -> str:
        servers = "\n".join(
            f"  server {name} 127.0.0.1:{port} check port {rest}" for name, (port, rest) in self._nodes.items()
        )
        proxies = "\n".join(
            f"listen {role}\n"
            f"  bind 127.0.0.1:{port}\n"
            f"  option httpchk GET /{role}\n"
            f"  http-check expect status 200\n"
            f"  default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions\n{servers}"
            for role, port in (("primary", self.writes), ("replica", self.reads))
        )
        times = "  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n  timeout check 1s"
        return f"defaults\n  mode tcp\n{times}\n{proxies}\n"

    def _pgbouncer(self) -> str:
        return f"""[databases]
postgres = host=127.0.0.1 port={self.writes} dbname=postgres user={_USER}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self._pooled}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
; After a failed connection it would wait 15 s before it tries again.
server_login_retry = 1
server_connect_timeout = 3
"""


def _kill(process: psutil.Process) -> None:
    """Kill a process and those that it has started."""
    with suppress(psutil.NoSuchProcess):
        processes = [process, *process.children(recursive=True)]
        for started in processes:
            with suppress(psutil.NoSuchProcess):
                started.kill()
        psutil.wait_procs(processes, timeout=5)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Yield a running cluster."""
    with tempfile.TemporaryDirectory(prefix="registry-", ignore_cleanup_errors=True) as folder:
        running = Cluster(Path(folder))
        try:
            running.start()
            yield running
        finally:
            running.stop()
