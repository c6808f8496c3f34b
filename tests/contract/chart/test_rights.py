"""The operator's rights: exactly what it does."""

from __future__ import annotations

import pytest
from tests.contract.chart.rendering import Object, pick, rendered

from breakwater_operator.cluster.kinds import BY_NAME, CHILDREN, CLAIM, EVENT, OWN, POD, TRADING_POLICY, UNREAD

READ, WATCHED = {"get", "list", "watch"}, {"get", "list", "watch", "create", "patch", "update"}
TABLE: dict[tuple[str, str], set[str]] = {
    ("breakwater.trading", "tradingpolicies"): READ,
    ("breakwater.trading", "emergencystops"): READ,
    ("breakwater.trading", "tradingpolicies/status"): {"patch"},
    ("breakwater.trading", "emergencystops/status"): {"patch"},
    # blockOwnerDeletion of the children, where the admission plugin for it is on.
    ("breakwater.trading", "tradingpolicies/finalizers"): {"update"},
    ("apps", "deployments"): {*WATCHED, "delete"},
    ("", "services"): {*WATCHED, "delete"},
    ("", "configmaps"): {*WATCHED, "delete"},
    ("", "persistentvolumeclaims"): WATCHED,
    ("", "secrets"): {"create", "patch"},
    ("", "serviceaccounts"): {"create", "patch"},
    ("", "pods"): {"list"},
    ("events.k8s.io", "events"): {"create"},
}


def rights(role: Object) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def can(verb: str, group: str, resource: str) -> bool:
    """What `kubectl auth can-i` would answer."""
    for rule in pick(rendered("defaults"), "ClusterRole", "-operator")["rules"]:
        if (
            {group, "*"} & set(rule["apiGroups"])
            and {resource, "*"} & set(rule["resources"])
            and {verb, "*"} & set(rule["verbs"])
        ):
            return True
    return False


def test_rights_are_the_table_and_nothing_else() -> None:
    assert rights(pick(rendered("defaults"), "ClusterRole", "-operator")) == TABLE


def test_every_request_that_the_operator_makes_is_allowed() -> None:
    wanted = [(verb, kind.group, kind.plural) for kind in (*OWN, *CHILDREN) for verb in ("get", "list", "watch")]
    # Server-side apply of an object that is missing needs both.
    wanted += [(verb, kind.group, kind.plural) for kind in (*CHILDREN, *UNREAD) for verb in ("create", "patch")]
    wanted += [("update", kind.group, kind.plural) for kind in CHILDREN]
    wanted += [("delete", kind.group, kind.plural) for kind in CHILDREN if kind is not CLAIM]
    wanted += [("patch", kind.group, f"{kind.plural}/status") for kind in OWN]
    wanted += [("list", POD.group, POD.plural), ("create", EVENT.group, EVENT.plural)]
    assert [request for request in wanted if not can(*request)] == []


def test_no_right_concerns_a_kind_that_the_operator_does_not_know() -> None:
    known = {(kind.group, kind.plural) for kind in BY_NAME.values()}
    assert {(group, resource.partition("/")[0]) for group, resource in TABLE} == known


@pytest.mark.parametrize(
    ("verb", "group", "resource"),
    [
        *((verb, "", "secrets") for verb in ("get", "list", "watch", "delete", "update", "deletecollection")),
        *((verb, TRADING_POLICY.group, "tradingpolicies") for verb in ("create", "update", "patch", "delete")),
        *((verb, TRADING_POLICY.group, "emergencystops") for verb in ("create", "update", "patch", "delete")),
        ("delete", "", "persistentvolumeclaims"),
        ("create", "", "pods"),
        ("create", "", "pods/exec"),
        ("create", "", "serviceaccounts/token"),
        ("impersonate", "", "serviceaccounts"),
        ("get", "", "nodes"),
        ("list", "", "namespaces"),
        ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
        ("bind", "rbac.authorization.k8s.io", "clusterroles"),
        ("escalate", "rbac.authorization.k8s.io", "roles"),
        ("update", "apiextensions.k8s.io", "customresourcedefinitions"),
    ],
)
def test_what_would_let_the_operator_take_over_is_not_allowed(verb: str, group: str, resource: str) -> None:
    assert not can(verb, group, resource)


def test_namespaces_given_replace_the_cluster_role_by_one_role_in_each() -> None:
    objects = rendered("namespaced")
    assert not [each for each in objects if each["kind"].startswith("ClusterRole")]
    roles = {each["metadata"]["namespace"]: each for each in objects if each["kind"] == "Role"}
    bindings = {each["metadata"]["namespace"]: each for each in objects if each["kind"] == "RoleBinding"}
    assert set(roles) == set(bindings) == {"desk-a", "123"}
    assert all(rights(role) == TABLE for role in roles.values())


def test_own_account_is_bound_when_none_is_made() -> None:
    objects = rendered("own-secrets")
    (subject,) = pick(objects, "ClusterRoleBinding", "-operator")["subjects"]
    assert subject["name"] == "given-account"
    assert [each["metadata"]["name"] for each in objects if each["kind"] == "ServiceAccount"] == ["breakwater-selftest"]
