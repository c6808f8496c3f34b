"""Who the operator is to the API server: the pod's ServiceAccount, or what KUBECONFIG names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import kopf
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

RELOGIN_SECONDS = 300
"""How long kopf goes on with one token; the kubelet replaces the file's content long before the old one ends."""


class NoLogin(Exception):
    """Neither a ServiceAccount nor a usable kubeconfig is there; the message says what to do."""


async def load_configuration(environment: Mapping[str, str]) -> Configuration:
    """Address and credentials of the API server. A ServiceAccount's token is read anew every minute. Raises NoLogin."""
    configuration = Configuration()
    try:
        if path := environment.get("KUBECONFIG"):
            await load_kube_config(config_file=path, client_configuration=configuration, persist_config=False)  # type: ignore[no-untyped-call]
        else:
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise NoLogin(
            f"no way to log in to the API server: {error}; run in a pod with a ServiceAccount, or set KUBECONFIG"
        ) from error
    configuration.connection_pool_maxsize = 64
    return configuration


async def connection_of(configuration: Configuration) -> kopf.ConnectionInfo:
    """The same for kopf, for as long as RELOGIN_SECONDS."""
    key = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    scheme, _, token = (key or "").partition(" ")
    ca = configuration.ssl_ca_cert
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=os.fspath(ca) if ca else None,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        default_namespace="default",
        expiration=datetime.now(UTC) + timedelta(seconds=RELOGIN_SECONDS),
    )
