"""Signs the head of the audit, with a key that the component makes at its first start and keeps on its own volume.

What a signature proves and what it does not: docs/decisions/0010-signed-heads.md. Trouble with the key never holds up the
stop: heads are unsigned then, and say why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec.structs import replace

from breakwater.domain.stop_head import StopHead
from breakwater.runtime.ports import Disk, DiskError
from breakwater.runtime.unreadable import UNREADABLE

KEY_FILE = "audit.key"
HEAD_FILE = "audit.head.json"

_PURPOSE = b"breakwater audit head v1\n"
"""Signed with every head: nothing else this key may ever sign can pass for one."""
_SEED_BYTES = 32


class HeadSigner:
    """The desk's signing key. Until ``load`` it signs nothing."""

    def __init__(self, disk: Disk, entropy: Callable[[int], bytes]) -> None:
        self._disk = disk
        self._entropy = entropy
        self._key: Ed25519PrivateKey | None = None
        self.public_key = ""
        self.key_id = ""
        self.made = False
        """Whether this start made the key."""
        self.problem = "the key has not been read yet"
        """Why heads are unsigned; empty when they are signed."""

    async def load(self) -> None:
        """Read the key, or make one where there is none. Never raises: what is wrong is in ``problem``.

        A file that is there and holds no key is left alone: it may be put right, and it is evidence.
        """
        try:
            data = self._disk.read(KEY_FILE)
            self.made = data is None
            seed = _seed(data) if data is not None else await self._make()
        except (DiskError, ValueError) as error:
            self.problem = f"the audit's signing key cannot be used: {error}"
            return
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes_raw()
        self.public_key, self.key_id, self.problem = public.hex(), _key_id(public), ""

    async def _make(self) -> bytes:
        seed = self._entropy(_SEED_BYTES)
        await self._disk.replace(KEY_FILE, seed.hex().encode() + b"\n")
        return seed

    def sign(self, head: StopHead) -> StopHead:
        """``head`` with key and signature; without, while there is no key."""
        if self._key is None:
            return replace(head, key_id="", public_key="", signature="")
        named = replace(head, key_id=self.key_id, public_key=self.public_key, signature="")
        return replace(named, signature=self._key.sign(_signed_bytes(named)).hex())


def signature_problem(head: StopHead) -> str:
    """What is wrong with the signature of ``head``; empty when the key it names made it over exactly these values."""
    try:
        public, signature = bytes.fromhex(head.public_key), bytes.fromhex(head.signature)
        if _key_id(public) != head.key_id:
            return f"key id {head.key_id} is not that of the public key beside it"
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _signed_bytes(head))
    except ValueError:
        return "key or signature are not hexadecimal of the right length"
    except InvalidSignature:
        return f"the signature is not key {head.key_id}'s over these values: head or signature were changed"
    return ""


def decode_head(data: bytes) -> StopHead:
    """A head as ``encode_head`` writes it. Raises ValueError."""
    try:
        return _decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(f"this is no head of an audit: {error}") from error


def encode_head(head: StopHead) -> bytes:
    return _encoder.encode(head)


def _seed(data: bytes) -> bytes:
    try:
        seed = bytes.fromhex(data.decode("ascii").strip())
    except ValueError:
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise ValueError(
            f"{KEY_FILE} does not hold {_SEED_BYTES} bytes in hexadecimal: put it back from a backup, or move it away "
            "and restart: a new key is made then, and the audit says so"
        )
    return seed


def _key_id(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:16]


def _signed_bytes(head: StopHead) -> bytes:
    return _PURPOSE + msgspec.json.encode(replace(head, signature=""), order="sorted")


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StopHead)
