"""In which order files are evicted."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence

from ..errors import PluginFailed, SettingsError
from ..plugins import Candidate, Hooks, Order
from ..settings import variables


def by(key: Callable[[Candidate], float]) -> Order:
    """The order of a key function."""
    return lambda candidates: [key(candidate) for candidate in candidates]


def eviction_policies() -> dict[str, Order]:
    """Name -> policy, of those that need no plug-in."""
    return {
        "oldest": by(lambda candidate: candidate.record.registered_ms),
        "largest": by(lambda candidate: -candidate.size_bytes),
        "least-recently-used": by(lambda candidate: candidate.used_ms),
        "size-age": by(lambda candidate: -candidate.size_bytes * candidate.age_ms),
    }


def eviction_policy(name: str, policies: Mapping[str, Order]) -> Order:
    """
    The policy called *name*.

    Raises:
        SettingsError: there is none; the error lists those that there are.
    """
    if name in policies:
        return policies[name]
    variable = variables()["eviction_policy"]
    meant = difflib.get_close_matches(name, policies, n=1)
    hint = f"; did you mean {meant[0]}?" if meant else ""
    raise SettingsError(
        f"{variable}={name!r}: must be one of {', '.join(sorted(policies))}{hint}",
        variable=variable,
        value=name,
    )


def chosen_policy(hooks: Hooks) -> Order:
    """
    The eviction policy that the settings name.

    Plug-ins are asked only for a name that is not ours, so no plug-in can replace one of ours. If a plug-in fails
    later, the failure is counted and PluginFailed is raised from the policy.

    Raises:
        SettingsError: neither we nor a plug-in has a policy of that name.
    """
    name, policies = hooks.eviction_policy, eviction_policies()
    if name not in policies:
        policies = hooks.eviction_policies() | policies
    scores = eviction_policy(name, policies)

    def counted(candidates: Sequence[Candidate]) -> Sequence[float]:
        try:
            return scores(candidates)
        except PluginFailed as exc:
            hooks.failed(exc)
            raise

    return counted
