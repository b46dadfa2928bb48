"""What a federation is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

StrategyName = Literal[
    "base", "local", "fedavg", "fedprox", "fedper", "fedrep", "ditto", "bias_norm"
]
Split = Literal["train", "validation", "test"]
Aggregation = Literal["mean", "median", "trimmed_mean", "krum"]


@dataclass(frozen=True)
class DivisionConfig:
    """Which of a client's windows it learns from, chooses on, and is judged on."""

    kind: Literal["blocks", "chronological", "recordings", "random", "unseen"] = "blocks"
    """`blocks`: blocks of time in turn, with guards between unlike ones. `chronological`: the first half, the
    next quarter, the last. `recordings`: whole recordings (nights) in turn. `random`: single windows, as often
    published, whose neighbours are on the other side. `unseen`: whoever is judged takes no part (cold start)."""
    block_s: float = 1800.0
    """Length of a block in seconds."""
    guard_s: float = 300.0
    """What is left out on either side of a border between unlike parts, in seconds: windows do not overlap
    across it where they are no longer than twice this."""

    @property
    def piece_s(self) -> float:
        """Windows within so many seconds are taken as alike, half blocks as independent (`adoption`, intervals)."""
        return self.block_s / 2

    def __post_init__(self) -> None:
        if not self.block_s > 2 * self.guard_s >= 0:
            raise ValueError(
                f"guard_s must be 0 or more and less than half of block_s, not {self.guard_s} of {self.block_s}"
            )


@dataclass(frozen=True)
class LocalConfig:
    """What a client does in a round."""

    steps: int = 10
    """Steps of gradient descent in a round."""
    batch: int = 32
    """Windows of a step, drawn with replacement."""
    rate: float = 0.05
    """Learning rate of heads, whose inputs have unit deviation."""
    adapter_rate: float = 0.01
    """Learning rate of `bias_norm`, head included."""
    adapter_share: float = 0.4
    """Share of the steps that `bias_norm` makes, in rounds and alone: each runs the encoder forwards and backwards."""
    decay: float = 1e-3
    """Weight decay."""
    proximal: float = 0.1
    """How strongly FedProx holds a client to the global weights (µ)."""
    pull: float = 0.1
    """How strongly Ditto holds a personal head to the global one (λ)."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not self.rate > 0 or not self.adapter_rate > 0:
            raise ValueError("local: steps, batch and rates must be above 0")
        if not 0 < self.adapter_share <= 1:
            raise ValueError(f"local: adapter_share lies between 0 and 1, not {self.adapter_share}")
        if min(self.decay, self.proximal, self.pull) < 0:
            raise ValueError("local: decay, proximal and pull must be 0 or more")


@dataclass(frozen=True)
class PersonalConfig:
    """What a client does after the last round, on its own; and when it may use what came of it."""

    steps: int = 200
    """Steps of gradient descent at most; the best on validation are kept, none included."""
    every: int = 10
    """Validation is looked at every so many steps."""
    rate: float = 0.05
    """Learning rate."""
    confidence: float = 0.8
    """The personal head is adopted where its gain on the client's validation is above 0 with so much confidence
    (one-sided t-test over half blocks)."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.every < 1 or not self.rate > 0:
            raise ValueError("personal: steps, every and rate must be above 0")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"personal: confidence lies from 0.5 to 1, not {self.confidence}")


@dataclass(frozen=True)
class BaseConfig:
    """The small model that every client also trains on its own raw signals."""

    steps: int = 400
    """Steps of gradient descent at most; the best on validation are kept."""
    every: int = 20
    """Validation is looked at every so many steps."""
    rate: float = 0.03
    """Learning rate, with momentum 0.9."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.every < 1 or not self.rate > 0:
            raise ValueError("base: steps, every and rate must be above 0")


@dataclass(frozen=True)
class RealityConfig:
    """What goes wrong among devices, simulated from the seed."""

    participation: float = 1.0
    """Share of the clients that a round asks."""
    dropout: float = 0.0
    """Share of those asked that do not answer."""
    stragglers: float = 0.0
    """Share of those asked that finish only half of their steps."""
    few_labels: float = 0.0
    """Share of the clients that learn from `labels` labelled windows."""
    labels: int = 20
    """How many labelled windows these have to learn from, and as many to choose on."""
    missing: tuple[str, ...] = ()
    """Modalities that `lacking` of the clients have no sensor for."""
    lacking: float = 0.0
    """Share of the clients that lack them."""
    poisoned: int = 0
    """How many clients send the negative of what they learned, ten times over."""

    def __post_init__(self) -> None:
        shares = (self.dropout, self.stragglers, self.few_labels, self.lacking)
        if not 0 < self.participation <= 1 or not all(0 <= share <= 1 for share in shares):
            raise ValueError("reality: shares lie between 0 and 1, and participation is above 0")
        if bool(self.missing) != (self.lacking > 0):
            raise ValueError(
                "reality: missing names sensors, and lacking says how many lack them: both or none"
            )
        if self.labels < 1 or self.poisoned < 0:
            raise ValueError("reality: labels must be 1 or more, poisoned 0 or more")


@dataclass(frozen=True)
class PrivacyConfig:
    """What is done so that nobody learns of a client from what it sends."""

    central_noise: float = 0.0
    """Noise that the server adds to the sum of clipped updates, as a multiple of `clip` (central differential
    privacy; a client is what is protected); 0 for none."""
    local_epsilon: float = 0.0
    """ε of one release where each client adds the noise itself (local differential privacy); 0 for none."""
    clip: float = 1.0
    """Largest norm of a client's update."""
    delta: float = 1e-5
    """δ."""
    secure_aggregation: bool = False
    """The server sees the sum of the updates alone (SecAgg+)."""

    def __post_init__(self) -> None:
        if self.central_noise < 0 or self.local_epsilon < 0 or not self.clip > 0:
            raise ValueError("privacy: noise and ε must be 0 or more, clip above 0")
        if not 0 < self.delta < 1:
            raise ValueError(f"privacy: delta lies between 0 and 1, not {self.delta}")
        if (self.central_noise > 0) + (self.local_epsilon > 0) + self.secure_aggregation > 1:
            raise ValueError(
                "privacy: choose one of central_noise, local_epsilon, secure_aggregation"
            )

    @property
    def noisy(self) -> bool:
        """Whether noise is added anywhere."""
        return self.central_noise > 0 or self.local_epsilon > 0

    @property
    def promised(self) -> bool:
        """Whether anything is kept from anybody."""
        return self.noisy or self.secure_aggregation


@dataclass(frozen=True)
class FederatedConfig:
    """A federation: one subject, one client."""

    models: tuple[str, ...]
    """Folders of pretrained encoders (RUN/best). With several, each subject is judged with one that never saw it, in
    a federation of its own that all subjects take part in."""
    shards: tuple[str, ...]
    """Shard folders of the task's data set."""
    task: str
    """A shipped task of several windows a subject, such as sleep_watch_hr_4, or a YAML file."""
    strategies: tuple[StrategyName, ...] = (
        "base", "local", "fedavg", "fedprox", "fedper", "fedrep", "ditto", "bias_norm",
    )  # fmt: skip
    """`base`: each client's own small model of raw signals. `local`: its own head, no exchange. `fedavg`,
    `fedprox`: one head for all. `fedper`, `fedrep`: a shared layer under a personal one. `ditto`: a personal head
    held to the global one. `bias_norm`: the encoder's biases and norms are adapted too."""
    division: DivisionConfig = DivisionConfig()
    """Who learns from what."""
    rounds: int = 40
    """Rounds of exchange."""
    hidden: int = 32
    """Width of a head's hidden layer; 0 for a linear head."""
    standardise: Literal["subject", "population"] = "subject"
    """By whose windows embeddings get mean 0 and deviation 1: each client's own, or all (exchanged once)."""
    loss: Literal["plain", "balanced"] = "plain"
    """Whether each class weighs the same for a client, however rare it is there."""
    aggregation: Aggregation = "mean"
    """How updates become one: the mean weighted by windows, or what a poisoned client cannot move far."""
    local: LocalConfig = LocalConfig()
    """What a client does in a round."""
    personal: PersonalConfig = PersonalConfig()
    """What it does after the last one."""
    base: BaseConfig = BaseConfig()
    """How its own small model learns."""
    reality: RealityConfig = RealityConfig()
    """What goes wrong."""
    privacy: PrivacyConfig = PrivacyConfig()
    """What is kept from the server."""
    engine: Literal["vectorised", "flower"] = "vectorised"
    """Who runs the clients of a simulation: one process that trains them together, or Flower's (Ray)."""
    timeout_s: float = 600.0
    """How long a round of a deployment waits for an answer, in seconds."""
    minimum: int = 1
    """A deployment waits for so many clients before it begins."""
    seed: int = 0
    """Everything is drawn from it."""
    out: Path = Path("runs/federated")
    """Folder for the report, and for what each client keeps."""
    cache: Path = Path("data/cache/embeddings")
    """Folder in which embeddings are kept, to be computed once."""
    splits: tuple[Split, ...] = ("train", "validation", "test")
    """Splits of the shards whose subjects are clients: leave out the one that the encoder learned from."""
    excluded: tuple[str, ...] = ()
    """Subjects who take no part at all."""

    def __post_init__(self) -> None:
        if not self.models or not self.shards:
            raise ValueError("models and shards: name at least one of each")
        if not self.strategies or len(set(self.strategies)) != len(self.strategies):
            raise ValueError("strategies: name at least one, and each once")
        if len({Path(model).resolve() for model in self.models}) != len(self.models):
            raise ValueError(f"models: name each folder once, not {', '.join(self.models)}")
        if self.rounds < 1 or self.hidden < 0 or self.minimum < 1 or not self.timeout_s > 0:
            raise ValueError("rounds, minimum and timeout_s must be above 0, hidden 0 or more")
        split = {"fedper", "fedrep"} & set(self.strategies)
        if split and not self.hidden:
            raise ValueError(
                f"{', '.join(sorted(split))}: a layer is shared and one is personal, so hidden must be above 0"
            )
        alone = set(self.strategies) - {"fedavg", "fedprox", "ditto", "bias_norm"}
        if self.division.kind == "unseen" and alone:
            raise ValueError(
                f"strategies: {', '.join(sorted(alone))} have nothing for somebody who takes no part, as "
                "division.kind unseen asks; leave them out"
            )
        if self.privacy.promised and self.standardise == "population":
            raise ValueError(
                "standardise: exact sums of all clients are no secret; choose subject beside privacy"
            )
        if self.privacy.promised and self.aggregation != "mean":
            raise ValueError(
                f"aggregation: beside privacy it is the mean, not {self.aggregation}, which needs every update as it is"
            )
