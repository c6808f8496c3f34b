"""Kubernetes quantities (``250m``, ``256Mi``): what they amount to, and the way the API server writes them back."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
}  # fmt: skip
_FORM = re.compile(r"\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][-+]?[0-9]{1,2})?")


class QuantityError(ValueError):
    """Not a quantity; the sentence says what is allowed."""


def amount_of(value: object) -> Decimal:
    """How much ``value`` is, in the resource's own unit (cores, bytes). Raises QuantityError."""
    return _parse(value)[0]


def canonical(value: object) -> str:
    """``value`` as the API server writes it back: the largest suffix that leaves a whole number. Raises QuantityError."""
    amount, binary = _parse(value)
    if binary and amount == amount.to_integral_value():
        for suffix, factor in reversed(_BINARY.items()):
            if amount and amount % factor == 0:
                return f"{int(amount) // factor}{suffix}"
        return str(int(amount))
    for suffix, unit in reversed(_DECIMAL.items()):
        if amount and amount % unit == 0:
            return f"{int(amount / unit)}{suffix}"
    return "0" if not amount else f"{int((amount / _DECIMAL['n']).to_integral_value(ROUND_CEILING))}n"


def _parse(value: object) -> tuple[Decimal, bool]:
    match = _FORM.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise QuantityError(f"{value!r} is not a quantity; write it like 250m, 0.5, 256Mi or 1Gi")
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix], True
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return number.scaleb(int(suffix[1:])), False
    return number * _DECIMAL[suffix], False
