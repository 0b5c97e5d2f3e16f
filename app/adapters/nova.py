"""OpenStack Nova: a filter and a weigher of the scheduler, as the classes that nova-scheduler loads.

    [filter_scheduler]
    available_filters = nova.scheduler.filters.all_filters
    available_filters = profile_registry_client.adapters.nova.DeviceProfileFilter
    enabled_filters = ComputeFilter,…,DeviceProfileFilter
    weight_classes = nova.scheduler.weights.all_weighers,profile_registry_client.adapters.nova.DeviceProfileWeigher

    [device_profile_registry]
    url = https://registry.example

The devices are extra specs of the flavor, or properties of the image (app/adapters/devices.py). Neither the image's
properties nor the host that a VM runs on are in the request that Nova hands to a filter; they are in its databases.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from logging import getLogger
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import nova.conf
from nova import context as nova_context
from nova import objects
from nova import utils as nova_utils
from nova.compute import task_states
from nova.scheduler import filters, weights
from nova.scheduler import utils as scheduler_utils
from oslo_config import cfg

from app.adapters.asking import ASK_SECONDS, Asker, Verdicts, by_reason, refused
from app.adapters.devices import PREFIX, is_meant
from app.wire.compatibility import Policy

_GROUP = "device_profile_registry"
# Nova keeps 255 bytes of a property, fewer where that would cut a character in two.
_MAX_KEPT = 251
_LOG = getLogger(__name__)
_OPTIONS = [
    cfg.StrOpt("url", default="http://127.0.0.1:8000", help="The address of the registry."),
    cfg.StrOpt("token", secret=True, help="The token of the requests, if the registry's reads are closed."),
    cfg.FloatOpt(
        "timeout",
        default=ASK_SECONDS,
        min=0.1,
        max=300,
        help="How many seconds to wait for the answer to a question; without one, no host passes.",
    ),
    cfg.StrOpt(
        "policy",
        default=Policy.STRICT.value,
        choices=[policy.value for policy in Policy],
        help="strict: a host must list the device's profile; permissive: only variables are compared.",
    ),
    cfg.BoolOpt(
        "allow_must_be_set",
        default=False,
        help="Whether hosts pass where variables must be set in addition to the profile. Nova does not set them.",
    ),
    cfg.StrOpt(
        "host_name",
        default="host",
        choices=["host", "node"],
        help="What hosts are called in the registry: host: the name of the compute service; node: that of the "
        "hypervisor (hypervisor_hostname).",
    ),
    cfg.BoolOpt(
        "image_properties",
        default=True,
        help="Whether properties of images can describe devices. If so, the database is read for every request.",
    ),
    cfg.FloatOpt(
        "weight_multiplier",
        default=1.0,
        help="How much the weigher counts. The metadata device_profile_weight_multiplier of a host aggregate overrides "
        "it.",
    ),
]
nova.conf.CONF.register_opts(_OPTIONS, group=_GROUP)


class _Vm(NamedTuple):
    """What the scheduler has to find a host for. source: the host that a live migration starts from."""

    properties: Mapping[str, str]
    source: str | None


class _Answer(NamedTuple):
    """The verdict for each host by its name; None: the VM has no devices to ask about. source: as of the VM."""

    verdicts: Verdicts | None
    source: str | None = None


class DeviceProfileFilter(filters.BaseHostFilter):
    """Passes the hosts that can re-create the VM's devices; all hosts if it has none that flavor or image describe."""

    # The instances of a request have the same flavor and the same image.
    run_filter_once_per_request = True
    # The devices of a new image can be others.
    RUN_ON_REBUILD = True

    def filter_all(self, filter_obj_list: Any, spec_obj: Any) -> list[Any]:
        """Return the hosts that pass; never raises an exception."""
        hosts = list(filter_obj_list)
        answer = _ask(hosts, spec_obj)
        _ANSWERS[spec_obj] = answer.verdicts
        if answer.verdicts is None:
            return hosts
        passing = [host for host in hosts if answer.verdicts[_name(host)].is_allowed]
        _log(spec_obj, answer.verdicts, answer.source, f"{len(passing)} of {len(hosts)} hosts can take")
        return passing

    def host_passes(self, host_state: Any, filter_properties: Any) -> bool:
        """Return whether a single host passes."""
        return bool(self.filter_all([host_state], filter_properties))


class DeviceProfileWeigher(weights.BaseHostWeigher):
    """Prefers hosts with fewer warnings and fewer variables that nothing can check."""

    def weight_multiplier(self, host_state: Any) -> float:
        """Return how much the weigher counts on a host."""
        default = nova.conf.CONF[_GROUP].weight_multiplier
        multiplier: float = scheduler_utils.get_weight_multiplier(
            host_state, "device_profile_weight_multiplier", default
        )
        return multiplier

    def weigh_objects(self, weighed_obj_list: Any, weight_properties: Any) -> list[float]:
        """Return the weights of the hosts, 0 and less; never raises an exception."""
        hosts = [weighed.obj for weighed in weighed_obj_list]
        verdicts = _ANSWERS.get(weight_properties, _NOT_ASKED)
        if verdicts is _NOT_ASKED:
            verdicts = _ask(hosts, weight_properties).verdicts
        if verdicts is None:
            return [0.0] * len(hosts)
        known = [verdicts.get(_name(host)) for host in hosts]
        weighed = [
            -float(verdict.warnings + verdict.unchecked) if verdict is not None and verdict.is_allowed else None
            for verdict in known
        ]
        # Without the filter, hosts that would not pass come last.
        last = min((weight for weight in weighed if weight is not None), default=0.0) - 1
        return [last if weight is None else weight for weight in weighed]

    def _weigh_object(self, obj: Any, weight_properties: Any) -> float:
        """Return the weight of a single host."""
        return self.weigh_objects([weights.WeighedHost(obj, 0.0)], weight_properties)[0]


# What the filter was answered, for the weigher that comes next with the same request.
_ANSWERS: WeakKeyDictionary[Any, Verdicts | None] = WeakKeyDictionary()
_NOT_ASKED: Verdicts = {}


def _ask(hosts: Sequence[Any], spec: Any) -> _Answer:
    """Return the answer about hosts for a request; all hosts are one question."""
    names = [_name(host) for host in hosts]
    try:
        vm = _vm(spec)
        return _Answer(_asker().about_properties(vm.properties, names, source=vm.source), vm.source)
    except Exception as error:  # noqa: BLE001 (an exception would end the request, and say nothing of why)
        message = " ".join(str(error).split())
        return _Answer(refused(names, f"the VM's devices are not known: {type(error).__name__}: {message}"))


@cache
def _asker() -> Asker:
    options = nova.conf.CONF[_GROUP]
    return Asker(
        options.url,
        options.token,
        seconds=options.timeout,
        policy=Policy(options.policy),
        allow_must_be_set=options.allow_must_be_set,
    )


def _name(host: Any) -> str:
    """Return what a host state of the scheduler is called in the registry."""
    return str(host.host if nova.conf.CONF[_GROUP].host_name == "host" else host.nodename)


def _source(instance: Any) -> str:
    """Return what the host of an instance is called in the registry."""
    return str(instance.host if nova.conf.CONF[_GROUP].host_name == "host" else instance.node)


def _vm(spec: Any) -> _Vm:
    """Return the devices that flavor and image describe, and the source of a live migration."""
    flavor = _by_device(spec.flavor.extra_specs if "extra_specs" in spec.flavor else {})
    if not flavor and not nova.conf.CONF[_GROUP].image_properties:
        return _Vm({}, None)
    instance = _instance(spec.instance_uuid)
    image = _by_device(_image_properties(instance)) if nova.conf.CONF[_GROUP].image_properties else {}
    both = flavor.keys() & image.keys()
    if different := [name for name in both if flavor[name] != image[name]]:
        # Whoever makes an image must not loosen what the flavor states of a device.
        message = f"flavor and image describe {', '.join(sorted(different))} differently"
        raise ValueError(message)
    # Everything else starts the VM anew: a new server, a cold migration, a resize, an evacuation, a rebuild.
    is_live = instance.task_state == task_states.MIGRATING
    properties = {key: value for device in {**image, **flavor}.values() for key, value in device.items()}
    return _Vm(properties, _source(instance) if is_live else None)


def _by_device(properties: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """Return the properties that describe devices, or are meant to, by device."""
    devices: dict[str, dict[str, str]] = {}
    for key, value in properties.items():
        if is_meant(key):
            devices.setdefault(key.partition(".")[0], {})[key] = value
    return devices


def _instance(uuid: str) -> Any:
    """Return the instance of a request: of its cell's database, or of a new server as it was requested."""
    context = nova_context.get_admin_context()
    mapping = objects.InstanceMapping.get_by_instance_uuid(context, uuid)
    if mapping.cell_mapping is None:
        return objects.BuildRequest.get_by_instance_uuid(context, uuid).instance
    with nova_context.target_cell(context, mapping.cell_mapping) as cell:
        return objects.Instance.get_by_uuid(cell, uuid, expected_attrs=["system_metadata"])


def _image_properties(instance: Any) -> Mapping[str, str]:
    """Return all properties of the image that an instance was made from, as Nova keeps them with the instance.

    The image of the request has only those that Nova itself knows.
    """
    properties: Mapping[str, str] = nova_utils.get_image_from_system_metadata(instance.system_metadata)["properties"]
    for key, value in properties.items():
        if key.startswith(PREFIX) and len(value.encode()) > _MAX_KEPT:
            message = f"Nova has cut off the image's {key}, or nearly: declare the device in the flavor"
            raise ValueError(message)
    return properties


def _log(spec: Any, verdicts: Verdicts, source: str | None, how_many: str) -> None:
    """Log how many hosts pass, and why others do not: as a warning if none does."""
    log = _LOG.info if any(verdict.is_allowed for verdict in verdicts.values()) else _LOG.warning
    instance = spec.instance_uuid if "instance_uuid" in spec else "without a UUID"
    log("device profiles: %s instance %s%s", how_many, instance, f", live from {source}" if source else "")
    for line in by_reason(verdicts):
        log("device profiles: not for instance %s: %s", instance, line)
