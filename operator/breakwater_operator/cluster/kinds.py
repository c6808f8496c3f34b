"""The kinds of objects that the operator reads or writes, and where the API server serves them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """``group`` is empty for the core API. All kinds here are namespaced."""

    name: str
    plural: str
    version: str
    group: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The request's path. ``namespace`` None: all namespaces (lists only)."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace is not None else ""
        return (
            root + scope + f"/{self.plural}" + (f"/{name}" if name else "") + (f"/{subresource}" if subresource else "")
        )


TRADING_POLICY = Kind("TradingPolicy", "tradingpolicies", "v1alpha1", "breakwater.trading")
EMERGENCY_STOP = Kind("EmergencyStop", "emergencystops", "v1alpha1", "breakwater.trading")
DEPLOYMENT = Kind("Deployment", "deployments", "v1", "apps")
SERVICE = Kind("Service", "services", "v1")
CONFIG_MAP = Kind("ConfigMap", "configmaps", "v1")
CLAIM = Kind("PersistentVolumeClaim", "persistentvolumeclaims", "v1")
SECRET = Kind("Secret", "secrets", "v1")
SERVICE_ACCOUNT = Kind("ServiceAccount", "serviceaccounts", "v1")
POD = Kind("Pod", "pods", "v1")
EVENT = Kind("Event", "events", "v1", "events.k8s.io")

OWN = (TRADING_POLICY, EMERGENCY_STOP)
CHILDREN = (DEPLOYMENT, SERVICE, CONFIG_MAP, CLAIM)
"""Children that are watched."""
UNREAD = (SECRET, SERVICE_ACCOUNT)
"""Children that are only ever written: the operator has no right to read them."""

BY_NAME = {kind.name: kind for kind in (*OWN, *CHILDREN, *UNREAD, POD, EVENT)}
