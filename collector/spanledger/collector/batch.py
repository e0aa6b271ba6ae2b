"""What frames of the journal say, gathered on its way to the ledger."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from spanledger.collector.ancestry import Place
from spanledger.collector.segment import Frame
from spanledger.semconv.sheet import Observations


@dataclass(slots=True)
class Batch:
    """Evidence, and which frame each piece of it comes from."""

    frames: list[Frame] = field(default_factory=list[Frame])
    """The frames that the observations come from, and for each the index of its first one."""
    starts: list[int] = field(default_factory=list[int])
    observations: Observations = field(default_factory=Observations)
    places: list[Place] = field(default_factory=list[Place])

    def begin(self, frame: Frame) -> None:
        """What comes next comes from this frame."""
        self.frames.append(frame)
        self.starts.append(len(self.observations))

    def frame_of(self, index: int) -> Frame:
        """The frame that an observation comes from."""
        return self.frames[bisect_right(self.starts, index) - 1]

    def clear(self) -> None:
        """Forget all evidence; what comes next still comes from the last frame."""
        del self.frames[:-1]
        self.starts[:] = [0] * len(self.frames)
        self.observations.clear()
        self.places.clear()
