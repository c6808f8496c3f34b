"""A container's environment and command from its spec, as a kubelet makes them. Pure."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from tests.cluster.node.api import Object
from tests.cluster.node.objects import Lookup, Ref


class ConfigError(Exception):
    """The container cannot be made from what there is. Retried; ``reason`` is what its state says meanwhile."""

    reason = "CreateContainerConfigError"


class EntrypointError(ConfigError):
    """There are no images here that could know what to run."""

    reason = "CreateContainerError"


@dataclass(frozen=True)
class PodFacts:
    """What only the node knows of a pod. ``allocatable``: the node's cpu and memory, for containers without a limit."""

    pod: Object
    pod_ip: str
    host_ip: str
    node: str
    allocatable: dict[str, str]


_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z0-9]+)\)")
_POWERS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SUFFIX = {"m": Decimal("0.001"), **{suffix: Decimal(power) for suffix, power in _POWERS.items()}}


def expand(text: str, variables: dict[str, str]) -> str:
    """``$(NAME)`` becomes the variable's value when there is one, ``$$`` a dollar."""

    def replace(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return "$"
        return variables.get(match.group(1), match.group(0))

    return _REFERENCE.sub(replace, text)


def quantity(text: str) -> Decimal:
    """``250m`` is 0.25, ``64Mi`` is 67108864. Raises ValueError."""
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text))
    if match is None or match.group(2) not in _SUFFIX:
        raise ValueError(f"{text} is no quantity")
    return Decimal(match.group(1)) * _SUFFIX[match.group(2)]


def field(facts: PodFacts, path: str) -> str:
    """A downward API field. Raises ConfigError for one that a kubelet does not know either."""
    metadata, spec = facts.pod["metadata"], facts.pod["spec"]
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((metadata.get(match.group(1)) or {}).get(match.group(2), ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return "\n".join(f'{key}="{value}"' for key, value in sorted((metadata.get(path[9:]) or {}).items()))
    values = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
        "spec.nodeName": facts.node,
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
    }
    if path not in values:
        raise ConfigError(f"unsupported fieldPath {path}")
    return str(values[path])


def resource_field(facts: PodFacts, container: Object, selector: Object) -> str:
    """``limits.memory`` and the like, in units of the divisor, rounded up."""
    kind, _, name = str(selector["resource"]).partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(kind) or {}).get(name)
    if amount is None and kind == "limits":
        amount = facts.allocatable.get(name)
    divisor = quantity(selector.get("divisor") or "1")
    return str(math.ceil(quantity(amount or "0") / (divisor or 1)))


def environment(
    container: Object, facts: PodFacts, lookup: Lookup, services: Iterable[Object], api_service: str
) -> dict[str, str]:
    """Everything that the container's process gets, image defaults aside. Raises ConfigError.

    ``services``: those of the pod's namespace, for the service links. ``api_service``: ClusterIP of the API server.
    """
    namespace = facts.pod["metadata"]["namespace"]
    linked = facts.pod["spec"].get("enableServiceLinks", True)
    result = service_links(services) if linked else {}
    result |= {"KUBERNETES_SERVICE_HOST": api_service, "KUBERNETES_SERVICE_PORT": "443"}
    result |= {"KUBERNETES_SERVICE_PORT_HTTPS": "443"}
    for origin in container.get("envFrom") or []:
        kind, reference = (
            ("secrets", origin["secretRef"]) if "secretRef" in origin else ("configmaps", origin["configMapRef"])
        )
        values = _values(Ref(kind, namespace, reference["name"]), lookup, optional=bool(reference.get("optional")))
        result |= {origin.get("prefix", "") + key: value for key, value in (values or {}).items()}
    for variable in container.get("env") or []:
        value = _variable(variable, container, facts, lookup, result)
        if value is not None:
            result[variable["name"]] = _listening(value, facts.pod_ip)
    return result


def command(container: Object, variables: dict[str, str], pod_ip: str) -> list[str]:
    """The words to run. Raises EntrypointError."""
    if not container.get("command"):
        raise EntrypointError("image entrypoint unknown")
    words = [expand(word, variables) for word in [*container["command"], *(container.get("args") or [])]]
    return [_listening(word, pod_ip) for word in words]


def _listening(word: str, pod_ip: str) -> str:
    """All pods share the host's network: one that would listen on all of its addresses listens on the pod's own."""
    return pod_ip if word in ("0.0.0.0", "::") else word


def _variable(
    variable: Object, container: Object, facts: PodFacts, lookup: Lookup, so_far: dict[str, str]
) -> str | None:
    origin = variable.get("valueFrom")
    if not origin:
        return expand(variable.get("value", ""), so_far)
    if selector := origin.get("fieldRef"):
        return field(facts, selector["fieldPath"])
    if selector := origin.get("resourceFieldRef"):
        return resource_field(facts, container, selector)
    for kind, name, word in (("secrets", "secretKeyRef", "Secret"), ("configmaps", "configMapKeyRef", "ConfigMap")):
        if selector := origin.get(name):
            optional = bool(selector.get("optional"))
            ref = Ref(kind, facts.pod["metadata"]["namespace"], selector["name"])
            values = _values(ref, lookup, optional=optional)
            if values is not None and selector["key"] in values:
                return values[selector["key"]]
            if optional:
                return None
            raise ConfigError(f"couldn't find key {selector['key']} in {word} {ref.namespace}/{ref.name}")
    raise ConfigError(f"unsupported valueFrom of {variable['name']}")


def _values(ref: Ref, lookup: Lookup, *, optional: bool) -> dict[str, str] | None:
    found = lookup(ref)
    if found is None:
        if optional:
            return None
        raise ConfigError(f'{ref.kind.removesuffix("s")} "{ref.name}" not found')
    data = found.get("data") or {}
    if ref.kind == "configmaps":
        return dict(data)
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}


def service_links(services: Iterable[Object]) -> dict[str, str]:
    """``NAME_SERVICE_HOST``, ``NAME_PORT_8080_TCP_ADDR`` and so on: a real kubelet sets these, and they can hide a setting."""
    result: dict[str, str] = {}
    for service in services:
        address, ports = service["spec"].get("clusterIP"), service["spec"].get("ports") or []
        if not address or address == "None" or not ports:
            continue
        name = service["metadata"]["name"].upper().replace("-", "_")
        result |= {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
        for position, port in enumerate(ports):
            protocol, number = port.get("protocol", "TCP"), str(port["port"])
            if port.get("name"):
                result[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = number
            link = f"{protocol.lower()}://{address}:{number}"
            if position == 0:
                result[f"{name}_PORT"] = link
            prefix = f"{name}_PORT_{number}_{protocol}"
            result |= {
                prefix: link,
                f"{prefix}_PROTO": protocol.lower(),
                f"{prefix}_PORT": number,
                f"{prefix}_ADDR": address,
            }
    return result
