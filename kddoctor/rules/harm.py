"""What distilling brought, as the rules about a teacher's targets weigh it."""

from dataclasses import dataclass

from kddoctor.probes.measurements import Gaps
from kddoctor.probes.proportions import SURE
from kddoctor.rules.finding import Finding


@dataclass(frozen=True)
class Harm:
    """gained: points over labels alone, None without a twin. clearly: that is more than noise. behind: clearly below
    the teacher, by more than ``LITTLE`` and more than noise.
    """

    gained: float | None
    clearly: bool
    behind: float
    clearly_behind: bool

    @property
    def none(self) -> bool:
        """Whether nothing was lost: distilling gained for certain, or the student is as good as its teacher."""
        return self.clearly or not self.clearly_behind


#: Points below the teacher that nobody would look for a cause of.
LITTLE = 0.02


def harm_of(held_out: Gaps) -> Harm:
    """On held-out rows."""
    return Harm(held_out.gained, held_out.surely_gained, held_out.behind, held_out.surely_behind(LITTLE, SURE))


def weighed_by_harm(
    finding: Finding, held_out: Gaps | None, *, excused: float = 1.5, blamed: float = 1.0
) -> tuple[Finding, bool]:
    """The finding with what distilling brought for or against it, and whether nothing was lost.

    excused, blamed: nats against it where nothing was lost, and for it where a twin shows that something was.
    """
    if held_out is None:
        return finding, False
    harm = harm_of(held_out)
    if harm.none:
        finding = finding.against(
            "example-gaps",
            "gained",
            harm.gained,
            "distilling gained on labels alone, or left the student as good as its teacher",
            weight=excused,
        )
    elif harm.gained is not None:
        finding = finding.supported_by(
            "example-gaps",
            "gained",
            harm.gained,
            f"distilling changed {held_out.metric} by {100 * harm.gained:+.1f} points against labels alone",
            weight=blamed,
        )
    return finding, harm.none
