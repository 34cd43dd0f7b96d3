"""Eviction policies: in which order files are evicted."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence

from ..errors import PluginFailed, SettingsError
from ..plugins import Candidate, Hooks, Policy
from ..settings import variables


def policy_of(score: Callable[[Candidate], float]) -> Policy:
    """Returns the policy of a score function."""
    return lambda candidates: [score(candidate) for candidate in candidates]


def builtin_policies() -> dict[str, Policy]:
    """Returns name -> policy of the policies that need no plug-in."""
    return {
        "oldest": policy_of(lambda candidate: candidate.record.registered_ms),
        "largest": policy_of(lambda candidate: -candidate.size_bytes),
        "least-recently-used": policy_of(lambda candidate: candidate.used_ms),
        "size-age": policy_of(lambda candidate: -candidate.size_bytes * candidate.age_ms),
    }


def policy_named(name: str, policies: Mapping[str, Policy]) -> Policy:
    """
    Returns the policy called *name*.

    Raises:
        SettingsError: no policy has that name; the error lists the names.
    """
    if name in policies:
        return policies[name]
    variable = variables()["eviction_policy"]
    matches = difflib.get_close_matches(name, policies, n=1)
    hint = f"; did you mean {matches[0]}?" if matches else ""
    raise SettingsError(
        f"{variable}={name!r}: must be one of {', '.join(sorted(policies))}{hint}",
        variable=variable,
        value=name,
    )


def chosen_policy(hooks: Hooks) -> Policy:
    """
    Returns the eviction policy that the settings name.

    Plug-ins are asked only for a name that is not ours, so no plug-in can replace one of ours. If a plug-in fails
    later, the failure is counted and PluginFailed is raised from the policy.

    Raises:
        SettingsError: neither we nor a plug-in has a policy of that name.
    """
    name, policies = hooks.eviction_policy, builtin_policies()
    if name not in policies:
        policies = hooks.eviction_policies() | policies
    policy = policy_named(name, policies)

    def counted(candidates: Sequence[Candidate]) -> Sequence[float]:
        try:
            return policy(candidates)
        except PluginFailed as exc:
            hooks.count_failure(exc)
            raise

    return counted
