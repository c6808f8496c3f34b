"""What the manifests of a desk are made from: the facts of the desk, and what its owner set for every desk."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from breakwater.domain.policy import PolicySpec, TradingMode, wire_name
from breakwater.runtime import strict_yaml
from breakwater_operator.desired.components import NAMES
from breakwater_operator.desired.quantity import QuantityError, canonical

_MOST_DESK_NAME = 54


class PlatformError(ValueError):
    """The platform file is wrong; the sentence names the field and what to do."""


class DeskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One desk, as far as its manifests depend on it.

    ``policy`` is what is asked for, already validated. ``stop_name`` is the stop of the policy in force; keep the last
    known one while there is none, or the dashboard restarts. ``token`` guards the components' HTTP routes,
    ``redis_url`` may carry a password: both only go into the Secret.
    """

    name: str
    namespace: str
    uid: str
    policy: PolicySpec
    stop_name: str
    token: str
    redis_url: str

    @property
    def id(self) -> str:
        """Contract 1: what the desk is called in the store and on its claims."""
        return desk_id(self.namespace, self.name, self.uid)

    @property
    def on_paper(self) -> bool:
        return self.policy.trading_mode is TradingMode.PAPER


class Storage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=wire_name):
    """Claims of the components that keep something. ``class_name`` None: the cluster's default class."""

    class_name: str | None = None
    size: str = "1Gi"
    access_mode: str = "ReadWriteOnce"


class PodSecurity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=wire_name):
    """Ids that the pods run under."""

    run_as_user: int = 10001
    fs_group: int = 10001


class PullSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class Platform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=wire_name):
    """What the owner of the cluster set for the pods of every desk (the chart's ``desk`` values and image)."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[PullSecret, ...] = ()
    bind_address: str = "0.0.0.0"
    """Address the components listen on; ``$(POD_IP)`` is replaced by the pod's own."""
    storage: Storage = Storage()
    resources: dict[str, dict[str, dict[str, Any]]] = msgspec.field(default_factory=dict)
    """By component (``default`` for all without their own): requests and limits, instead of the measured ones."""
    node_selector: dict[str, str] = msgspec.field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    affinity: dict[str, Any] = msgspec.field(default_factory=dict)
    pod_annotations: dict[str, str] = msgspec.field(default_factory=dict)
    pod_labels: dict[str, str] = msgspec.field(default_factory=dict)
    priority_class_name: str = ""
    log_level: str = "info"
    security_context: PodSecurity = PodSecurity()

    @staticmethod
    def load(text: str) -> Platform:
        """The platform that ``text`` (one YAML document) describes. Raises PlatformError with the field and a remedy."""
        try:
            documents = strict_yaml.read_documents(text)
        except strict_yaml.YamlProblem as error:
            at = f"line {error.line}: " if error.line else ""
            raise PlatformError(f"platform file: {at}{error.problem}; {error.remedy}") from None
        if len(documents) != 1 or not isinstance(documents[0].data, dict):
            raise PlatformError("platform file: it must hold one document with fields such as image: NAME")
        try:
            platform = msgspec.convert(_plain(_without_nulls(documents[0].data)), Platform, strict=True)
        except msgspec.ValidationError as error:
            raise PlatformError(f"platform file: {error}") from None
        platform._check()
        return platform

    def _check(self) -> None:
        if not self.image.strip():
            raise PlatformError("platform file: image is empty; name the image of the components")
        for field, value, allowed in (
            ("imagePullPolicy", self.image_pull_policy, ("Always", "IfNotPresent", "Never")),
            ("logLevel", self.log_level, ("debug", "info", "warning", "error")),
            ("storage.accessMode", self.storage.access_mode, ("ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany")),
        ):
            if value not in allowed:
                raise PlatformError(f"platform file: {field} is {value!r}; give {' or '.join(allowed)}")
        _check_quantity("storage.size", self.storage.size)
        known = ("default", *(name for name in NAMES), *(name.replace("_", "-") for name in NAMES))
        for component, groups in self.resources.items():
            if component not in known:
                raise PlatformError(
                    f"platform file: resources.{component} is no component; use one of {', '.join(known)}"
                )
            for group, amounts in groups.items():
                if group not in ("requests", "limits"):
                    raise PlatformError(f"platform file: resources.{component}.{group}: give requests or limits")
                for resource, amount in amounts.items():
                    _check_quantity(f"resources.{component}.{group}.{resource}", amount)
        if self.security_context.run_as_user == 0:
            raise PlatformError("platform file: securityContext.runAsUser is 0; the components do not run as root")


def desk_id(namespace: str, name: str, uid: str) -> str:
    """``namespace-name`` cut to 54 characters, and the first 8 hex digits of the policy's uid: at most 63 characters."""
    readable = f"{namespace}-{name}"[:_MOST_DESK_NAME].rstrip("-")
    return f"{readable}-{uid.replace('-', '').lower()[:8]}"


def _check_quantity(field: str, amount: object) -> None:
    try:
        canonical(amount)
    except QuantityError as error:
        raise PlatformError(f"platform file: {field}: {error}") from None


def _without_nulls(value: Any) -> Any:
    """A field that is present but empty counts as not set, as Helm renders it. Inside affinity null has no meaning either."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """Exact numbers as the API server's JSON has them: whole ones int, others text (a quantity such as 0.5)."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
