"""The cluster's keys and certificates: one CA for servers and clients, one for the front proxy, a service-account key."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=365)
CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    cert: bytes
    key: bytes


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read (0600), whatever was there before."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common_name: str, organization: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """A certificate authority; made new each time, its key can be written out but is never read back."""

    def __init__(self, common_name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(common_name)
        self.key_pem = _key_pem(self._key)
        certificate = (
            self._draft(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(self._usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.cert_pem = certificate.public_bytes(serialization.Encoding.PEM)

    def serving(self, common_name: str, names: list[str], *, also_client: bool = False) -> Pair:
        """A server's certificate for these DNS names and IP addresses."""
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH]
        if also_client:
            purposes.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._issue(_name(common_name), purposes, names)

    def client(self, user: str, group: str | None = None) -> Pair:
        """A client's certificate: CN is the user, O the group, as Kubernetes reads them."""
        return self._issue(_name(user, group), [ExtendedKeyUsageOID.CLIENT_AUTH], [])

    def _issue(self, subject: x509.Name, purposes: list[x509.ObjectIdentifier], names: list[str]) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        draft = (
            self._draft(subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(self._usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            draft = draft.add_extension(x509.SubjectAlternativeName([_san(name) for name in names]), critical=False)
        certificate = draft.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))

    def _draft(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + LIFETIME)
        )

    @staticmethod
    def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=signs_certificates,
            crl_sign=signs_certificates,
            encipher_only=False,
            decipher_only=False,
        )


class ClusterPKI:
    """Everything that one cluster's programs need to trust each other, written below `directory` (made 0700)."""

    def __init__(self, directory: Path, server: str, server_names: list[str]) -> None:
        """`server` is the API server's URL for kubeconfigs; `server_names` are the SANs of its certificate."""
        self.directory = directory
        self._server = server
        directory.mkdir(parents=True, mode=0o700)
        self._ca = Authority("breakwater-test-cluster")
        self._front_proxy = Authority("breakwater-test-cluster-front-proxy")
        self._write_authority("ca", self._ca)
        self._write_authority("front-proxy-ca", self._front_proxy)
        self._write_pair("apiserver", self._ca.serving("kube-apiserver", server_names))
        self._write_pair("etcd", self._ca.serving("etcd", ["127.0.0.1", "localhost"], also_client=True))
        self._write_pair("apiserver-etcd-client", self._ca.client("kube-apiserver-etcd-client"))
        self._write_pair("apiserver-kubelet-client", self._ca.client("kube-apiserver-kubelet-client", "system:masters"))
        self._write_pair("front-proxy-client", self._front_proxy.client("front-proxy-client"))
        service_accounts = ec.generate_private_key(ec.SECP256R1())
        write_private(directory / "service-accounts.key", _key_pem(service_accounts))
        (directory / "service-accounts.pub").write_bytes(
            service_accounts.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def admin_credentials(self) -> Pair:
        """A client that may do everything (system:masters)."""
        return self._ca.client("kubernetes-admin", "system:masters")

    def component_credentials(self, component: str) -> Pair:
        """A client certificate for `kube-controller-manager` or `kube-scheduler`; RBAC knows them by this name."""
        return self._ca.client(f"system:{component}")

    def node_credentials(self, name: str) -> Pair:
        """A node's client certificate: O=system:nodes, CN=system:node:NAME, so the Node authorizer governs it."""
        return self._ca.client(f"system:node:{name}", "system:nodes")

    def write_node_serving(self, name: str, cert: Path, key: Path, address: str) -> None:
        """Issue and write the certificate for a node's own HTTPS port."""
        pair = self._ca.serving(f"system:node:{name}", [address, "localhost", name])
        cert.write_bytes(pair.cert)
        write_private(key, pair.key)

    def write_kubeconfig(self, path: Path, user: str, pair: Pair) -> None:
        """Write a kubeconfig (0600) with everything embedded. JSON, which is YAML too."""
        write_private(path, json.dumps(self._kubeconfig(user, pair), indent=2).encode() + b"\n")

    def _kubeconfig(self, user: str, pair: Pair) -> dict[str, object]:
        def text(pem: bytes) -> str:
            return base64.b64encode(pem).decode()

        name = "breakwater"
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {"server": self._server, "certificate-authority-data": text(self._ca.cert_pem)},
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {"client-certificate-data": text(pair.cert), "client-key-data": text(pair.key)},
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": "default"}}],
            "current-context": name,
        }

    def _write_authority(self, name: str, authority: Authority) -> None:
        (self.directory / f"{name}.crt").write_bytes(authority.cert_pem)
        write_private(self.directory / f"{name}.key", authority.key_pem)

    def _write_pair(self, name: str, pair: Pair) -> None:
        (self.directory / f"{name}.crt").write_bytes(pair.cert)
        write_private(self.directory / f"{name}.key", pair.key)
