"""The wording of a probe's answer, the same for every process whatever serves it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from breakwater.runtime.lifecycle import Check


def probe_answer(
    name: str, checks: Mapping[str, Check], *, exclude: Collection[str] = (), verbose: bool = False
) -> tuple[int, str]:
    """Status (200 or 503) and text of the probe ``name`` (``readyz``). ``exclude`` leaves checks out of the verdict.

    Unasked, a probe says no more than its verdict, and what failed.
    """
    lines = []
    failed = False
    for check_name, check in checks.items():
        if check_name in exclude:
            lines.append(f"[+]{check_name} excluded: {'ok' if check.ok else 'failed'}")
            continue
        failed = failed or not check.ok
        lines.append(f"[{'+' if check.ok else '-'}]{check_name} {'ok' if check.ok else 'failed'}: {check.detail}")
    lines += [f"[-]{check_name}: no such check" for check_name in sorted(set(exclude) - checks.keys())]
    shown = lines if verbose else [line for line in lines if failed and line.startswith("[-]")]
    return 503 if failed else 200, "\n".join([*shown, f"{name} check {'failed' if failed else 'passed'}"]) + "\n"
