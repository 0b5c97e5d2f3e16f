"""A whole Nova in one process: its API, conductor, scheduler, placement and compute services, with its fake hypervisor.

Run by the Python that has Nova (.ci/nova): `python -P nova_cloud.py FILE …`, the files of its configuration. Nova's own
functional tests bring what is not here: Keystone, Neutron, Glance, Cinder and the message queue. Each line of standard
input is a command, the name of a method of Cloud and its arguments as JSON; each line of standard output is what it
returns, and what was logged.
"""

import json
import logging
import sys
import time
from typing import Any
from unittest import TestResult

_COMMANDS, _ANSWERS = sys.stdin, sys.stdout
# What Nova prints must not come between the answers.
sys.stdout = sys.stderr

from nova import monkey_patch  # noqa: E402 (as above)

# As in every program of Nova: it decides between eventlet and threads before anything else is imported.
monkey_patch.patch()

from nova import config, objects  # noqa: E402
from nova import context as nova_context  # noqa: E402
from nova.conf import CONF  # noqa: E402
from nova.scheduler.weights import WeighedHost  # noqa: E402
from nova.tests.functional import integrated_helpers  # noqa: E402

_PATIENCE_SECONDS = 60
_LOGGERS = ("profile_registry_client", "nova.filters", "nova.conductor", "nova.scheduler", "oslo_messaging")
_SETTLED = {"ACTIVE", "ERROR", "SHUTOFF", "VERIFY_RESIZE"}
_parse_args = config.parse_args


def _parse_files(argv: Any, default_config_files: Any = None, **options: Any) -> None:
    """Parse the configuration as Nova does, from the files that this process was given."""
    del default_config_files
    _parse_args(argv, default_config_files=sys.argv[1:], **options)


class _Log(logging.Handler):
    """Keeps what Nova logs of scheduling."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if record.name.startswith(_LOGGERS):
            self.lines.append(f"{record.levelname} {record.name}: {record.getMessage()}")


class Cloud(integrated_helpers.ProviderUsageBaseTestCase):
    """A cloud that does what it is told, through the API of Nova."""

    compute_driver = "fake.MediumFakeDriver"

    def setUp(self) -> None:
        """Start Nova's services, without a compute service."""
        super().setUp()
        self.kept = _Log()
        logging.getLogger().addHandler(self.kept)

    def serve(self) -> None:
        """Execute commands until there are no more."""
        self._print(None)
        for line in _COMMANDS:
            name, arguments = json.loads(line)
            self.kept.lines.clear()
            result = getattr(self, f"do_{name}")(**arguments)
            self._print({"result": result, "log": self.kept.lines})

    def _print(self, answer: object) -> None:
        _ANSWERS.write(f"{json.dumps(answer)}\n")
        _ANSWERS.flush()

    def do_start(self, hosts: list[str]) -> None:
        """Start the compute services of hosts."""
        for host in hosts:
            self._start_compute(host)

    def do_flavor(self, extra_specs: Any) -> str:
        """Create a flavor and return its id."""
        flavor: str = self._create_flavor(memory_mb=64, vcpu=1, disk=1, ephemeral=0, extra_spec=extra_specs)
        return flavor

    def do_image(self, properties: Any) -> str:
        """Create an image and return its id."""
        image = {**self.glance.show(None, self.glance.auto_disk_config_enabled_image["id"]), "properties": properties}
        del image["id"]
        identifier: str = self.glance.create(None, image)["id"]
        return identifier

    def do_boot(self, flavor: str, image: str | None = None, count: int = 1, **where: str) -> Any:
        """Create servers and return the first of them when it runs, or failed; where: az, host."""
        server = self._build_server(flavor_id=flavor, image_uuid=image, networks="none", **where)
        created = self.api.post_server({"server": {**server, "min_count": count}})
        return self._settled(created["id"])

    def do_act(self, server: str, action: str, before: str | None = None, **arguments: Any) -> Any:
        """Do something with a server, and return it when that is done, or failed; before: the status that it leaves."""
        self.api.post_server_action(server, {action: arguments or None})
        return self._settled(server, before)

    def do_down(self, host: str, *, is_down: bool) -> None:
        """Let Nova take a host for down, or no longer."""
        if not is_down:
            # It cleans up after what was evacuated meanwhile.
            self.computes[host] = self.restart_compute_service(self.computes[host])
        service = self.admin_api.get_services(host=host, binary="nova-compute")[0]
        self.admin_api.put_service_force_down(service["id"], is_down)

    def do_ask(self, server: str, instance: str | None = None, **options: Any) -> Any:
        """Return which hosts pass for the request of a server, and what all hosts weigh for whoever has not filtered.

        instance: of another instance. options: of the adapter, instead of those in nova.conf. Nodes are called as in a
        real cloud, unlike hosts.
        """
        group = "device_profile_registry"
        for name, value in options.items():
            CONF.set_override(name, value, group)
        try:
            manager = self.scheduler_service.manager.host_manager
            context = nova_context.get_admin_context()
            specs = [objects.RequestSpec.get_by_instance_uuid(context, server) for _ in range(2)]
            states = list(manager.get_host_states_by_uuids(context, None, specs[0]))
            for state in states:
                state.nodename = f"{state.host}.example"
            for spec in specs:
                spec.instance_uuid = instance or server
            (weigher,) = [weigher for weigher in manager.weighers if type(weigher).__name__ == "DeviceProfileWeigher"]
            weights = weigher.weigh_objects([WeighedHost(state, 0.0) for state in states], specs[1])
            passing = [state.host for state in manager.get_filtered_hosts(states, specs[0])]
        finally:
            for name in options:
                CONF.clear_override(name, group)
        weighed = zip((state.host for state in states), weights, strict=True)
        return {"id": instance or server, "host": None, "passing": sorted(passing), "weights": dict(weighed)}

    def do_options(self) -> Any:
        """Return the defaults of the adapter's options."""
        group = CONF["device_profile_registry"]
        return {name: CONF._get_opt_info(name, "device_profile_registry")["opt"].default for name in group}

    def do_delete(self) -> None:
        """Delete all servers."""
        for server in self.api.get_servers(detail=False):
            self.api.delete_server(server["id"])
        self._until(lambda: not self.api.get_servers(detail=False))

    def _settled(self, identifier: str, before: str | None = None) -> Any:
        def is_settled() -> bool:
            server = self.api.get_server(identifier)
            return server["status"] in _SETTLED - {before} and server["OS-EXT-STS:task_state"] is None

        self._until(is_settled)
        server = self.api.get_server(identifier)
        fault = server.get("fault", {}).get("message")
        return {"id": identifier, "status": server["status"], "host": server["OS-EXT-SRV-ATTR:host"], "fault": fault}

    def _until(self, is_done: Any) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_done():
            if time.monotonic() > deadline:
                message = f"{self.api.get_servers()}"
                raise TimeoutError(message)
            time.sleep(0.05)


if __name__ == "__main__":
    config.parse_args = _parse_files
    outcome = TestResult()
    Cloud("serve").run(outcome)
    for _, trace in [*outcome.errors, *outcome.failures]:
        sys.stderr.write(trace)
    sys.exit(0 if outcome.wasSuccessful() else 1)
