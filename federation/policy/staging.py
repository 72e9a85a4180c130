"""What would be, were all staged policies enforced: a world of its own, judged beside the one that stands."""

from dataclasses import replace

from federation.policy.model import Policy
from federation.policy.world import World

STAGED = "Staged"


def promoted(world: World) -> World:
    """The world in which staged policies are carried out: Set puts one in the place of the policy of its name, Delete takes that away;
    Learn and Ignore change nothing. Policies keep their staged kind, so that an answer names what it comes from."""
    staged = [policy for policy in world.policies if policy.is_staged]
    replaced = {_goal(policy) for policy in staged if policy.staged_action in ("Set", "Delete")}
    kept = [policy for policy in world.policies if not policy.is_staged and _goal(policy) not in replaced]
    carried = [replace(policy, staged_action="") for policy in staged if policy.staged_action == "Set"]
    return replace(world, policies=(*kept, *carried))


def _goal(policy: Policy) -> tuple[str, str, str, str, str]:
    """The policy that a staged one stands for, and what a policy that is enforced stands for: itself."""
    key = policy.key
    return (
        key.kind.removeprefix(STAGED).removeprefix("Kubernetes"),
        key.cluster,
        key.namespace,
        key.name,
        policy.tier,
    )
