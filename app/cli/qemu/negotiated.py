"""The features of virtio that a guest has negotiated: without them, the other host cannot load its devices."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.cli.qemu.monitor import Call, Monitor, Refused

_BACK_END = "/virtio-backend"
# As in `VIRTIO_NET_F_MQ: Multiqueue with automatic receive steering supported`.
_FEATURE = re.compile(r"VIRTIO_(?:[A-Z]+_)?F_([A-Z0-9_]+):")
# Features that QEMU's properties call otherwise (measured by switching each property).
_PROPERTIES = {
    "config_wce": "config-wce", "edid": "edid", "emerg_write": "emergency-write", "hash_report": "hash",
    "iommu_platform": "iommu_platform", "mtu": "host_mtu", "reporting": "free-page-reporting", "ring_packed": "packed",
    "ring_reset": "queue_reset", "rsc_ext": "guest_rsc_ext", "standby": "failover", "write_zeroes": "write-zeroes",
}  # fmt: skip


def negotiated(monitor: Monitor, paths: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    """Return the features that the guest has negotiated, by device, as QEMU's properties call them.

    paths: of the devices that are asked. Empty for a QEMU that does not tell (before 7.2), and for a guest without
    a driver. Raises MonitorError.
    """
    (listed,) = monitor.ask([Call("x-query-virtio")])
    if isinstance(listed, Refused):
        return {}
    known = {entry["path"] for entry in listed}
    asked = {name: path + _BACK_END for name, path in paths.items() if path + _BACK_END in known}
    answers = monitor.ask([Call("x-query-virtio-status", {"path": path}) for path in asked.values()])
    return {
        name: features
        for name, answer in zip(asked, answers, strict=True)
        if not isinstance(answer, Refused) and (features := _features(answer.get("guest-features", {})))
    }


def _features(stated: Mapping[str, Any]) -> Sequence[str]:
    written = [text for group in ("dev-features", "transports") for text in stated.get(group) or ()]
    names = (feature[1].lower() for text in written if (feature := _FEATURE.match(text)))
    return sorted({_PROPERTIES.get(name, name) for name in names})
