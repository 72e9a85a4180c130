"""The sizes of the made-up fleet that are measured."""

from dataclasses import dataclass

from benchmarks.policy.fleet import IDENTITIES, PER_IDENTITY, POLICIES


@dataclass(frozen=True, slots=True)
class Size:
    """A world; `times` is how often the smallest one goes into it."""

    name: str
    times: int
    identities: int
    per_identity: int
    policies: int

    @property
    def words(self) -> tuple[str, ...]:
        """For a command line."""
        return (str(self.identities), str(self.per_identity), str(self.policies))

    @property
    def is_aim(self) -> bool:
        """Whether the issue's aims are about this one."""
        return self.name == "8x"


FLEETS = tuple(
    Size(f"{times}x", times, IDENTITIES * times, PER_IDENTITY, POLICIES * times) for times in (1, 2, 4, 8)
)
FELIX = Size("250k endpoints x 10k policies", 20, 50_000, PER_IDENTITY, 10_000)
"""What Felix's own benchmark goes to."""
FELIX_BAR = Size("100k endpoints x 2k policies", 8, 20_000, PER_IDENTITY, 2_000)
"""Where Felix wants a thousand updates of endpoints each second."""
SIZES = (*FLEETS, FELIX)
