"""Reasons: which changed input makes a resource differ from what was last applied; pure.

A cause is found by asking the counterfactual: were this one input still what it was at the last apply, would the
resource be wished for differently? Building a platform is pure and takes milliseconds, so the answer is exact and no
template or service has to declare which settings it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from autogit.core.plan import Explain
from autogit.errors import AutogitError
from autogit.model.resource import Address, Resource

Rebuild = Callable[[], Sequence[Resource]]
"""The desired resources with one input put back; raises AutogitError where that is impossible now."""


def changed_settings(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return each setting that differs from the last apply as key -> (before, after), sorted by key."""
    if not before:
        return {}
    keys = sorted(set(before) | set(after))
    return {k: (before.get(k, ""), after.get(k, "")) for k in keys if before.get(k, "") != after.get(k, "")}


def explainer(desired: Sequence[Resource], counterfactuals: Mapping[str, Rebuild]) -> Explain:
    """Return a function that names the causes of a resource's change; nothing is rebuilt until it is asked.

    `counterfactuals` maps a cause in words (`SIZE homelab -> team`) to the desired resources without it.
    """
    now = _hashes(desired)

    @lru_cache(maxsize=1)
    def causes() -> dict[Address, list[str]]:
        found: dict[Address, list[str]] = {}
        for cause, rebuild in counterfactuals.items():
            try:
                then = _hashes(rebuild())
            except AutogitError:
                continue  # the former value is impossible now (a service folder is gone): it explains nothing
            for address in sorted(set(now) | set(then)):
                if now.get(address) != then.get(address):
                    found.setdefault(address, []).append(cause)
        return found

    def explain(address: Address) -> str:
        return "; ".join(causes().get(address, []))

    return explain


def describe_setting(key: str, before: str, after: str) -> str:
    """Say in a few words how a setting changed: `SIZE homelab -> team`, `SERVICES_ENABLED without prometheus`."""
    old, new = before.split(","), after.split(",")
    if max(len(old), len(new)) > 1 and not (before + after).startswith("["):  # JSON is one value
        gone, come = [x for x in old if x not in new], [x for x in new if x not in old]
        parts = [f"without {', '.join(gone)}"] if gone else []
        parts += [f"with {', '.join(come)}"] if come else []
        return f"{key} {' '.join(parts) or 'reordered'}"
    return f"{key} {before or '(unset)'} -> {after or '(unset)'}"


def _hashes(resources: Sequence[Resource]) -> dict[Address, str]:
    return {r.address: r.spec_hash for r in resources}
