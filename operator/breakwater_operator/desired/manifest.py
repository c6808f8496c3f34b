"""A manifest as the API server takes it: plain dicts, lists and scalars."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]
"""One Kubernetes object as JSON: ``apiVersion``, ``kind``, ``metadata`` and the rest. Never changed once built."""
