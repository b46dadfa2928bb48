"""The strategies: what is trained, what of it travels, what stays with a client, and what a client does in a round.

- `fedavg`: McMahan et al., AISTATS 2017. `fedprox`: Li et al., MLSys 2020. `fedper`: Arivazhagan et al.,
  arXiv 1912.00818. `fedrep`: Collins et al., ICML 2021. `ditto`: Li et al., ICML 2021. `bias_norm`: FedAvg of the
  parameters of BitFit (Ben Zaken et al., ACL 2022).
- After the last round each client goes on alone from what it has, as far as its validation gets better.

Functions take many clients: C in front of every tensor (`local`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from .configuration import FederatedConfig, LocalConfig, StrategyName
from .learners import HIDDEN, OUTPUT, Learner, Params
from .local import Batches, Descent, Part, descend

Personal = Params


@dataclass(frozen=True)
class Strategy:
    """`learner`: what is trained. `exchanged`: which parameters travel. `personal`: which stay between rounds.

    `alone`: which are trained after the last round. `unseen`: whether somebody who took no part can use it.
    """

    about: str
    learner: Literal["head", "bias_norm", "small"]
    exchanged: Literal["all", "hidden", "none"]
    personal: Literal["all", "output", "none"]
    alone: Literal["all", "output"] = "all"

    @property
    def unseen(self) -> bool:
        """What travels is a whole model."""
        return self.exchanged == "all"


STRATEGIES: dict[StrategyName, Strategy] = {
    "base": Strategy("own small model of the raw signal", "small", "none", "none"),
    "local": Strategy("own head, no exchange", "head", "none", "none"),
    "fedavg": Strategy("one head, averaged; then alone", "head", "all", "none"),
    "fedprox": Strategy("the same, held to the global one", "head", "all", "none"),
    "fedper": Strategy("shared layer, personal layer", "head", "hidden", "output", "output"),
    "fedrep": Strategy("the same, trained in turn", "head", "hidden", "output", "output"),
    "ditto": Strategy("a personal head pulled to the global one", "head", "all", "all"),
    "bias_norm": Strategy(
        "head and the encoder's biases and norms, averaged; then alone", "bias_norm", "all", "none"
    ),
}


def part_of(params: Params, which: Literal["all", "hidden", "output", "none"]) -> Params:
    """The parameters of a head's layer, all of a model's, or none."""
    if which == "all":
        return dict(params)
    prefix = {"hidden": HIDDEN, "output": OUTPUT}.get(which)
    return {k: v for k, v in params.items() if prefix and k.startswith(f"{prefix}.")}


def one_round(
    name: StrategyName,
    learner: Learner,
    local: LocalConfig,
    received: Params,
    personal: Personal,
    train: Part,
    batches: Batches,
) -> tuple[Params, Personal, Tensor]:
    """What each client makes of what it received: (what it sends, what it keeps, mean loss [C])."""
    rate = local.adapter_rate if STRATEGIES[name].learner == "bias_norm" else local.rate
    how = Descent(rate, local.decay)
    if name == "fedprox":
        how = replace(how, pull=local.proximal)
    if name == "fedrep":
        whole = {**received, **personal}
        whole, _ = descend(learner, how, list(personal), whole, whole, train, batches)
        whole, loss_C = descend(learner, how, list(received), whole, whole, train, batches)
    elif name == "fedper":
        whole = {**received, **personal}
        whole, loss_C = descend(learner, how, list(whole), whole, whole, train, batches)
    else:
        whole, loss_C = descend(learner, how, list(received), received, received, train, batches)
    if name == "ditto":
        pulled = replace(how, pull=local.pull)
        personal, _ = descend(learner, pulled, list(personal), personal, received, train, batches)
        return whole, personal, loss_C
    return (
        {key: whole[key] for key in received},
        {key: whole[key] for key in personal},
        loss_C,
    )


def steps_of(name: StrategyName, local: LocalConfig) -> int:
    """Steps of a round."""
    share = local.adapter_share if STRATEGIES[name].learner == "bias_norm" else 1.0
    return max(1, round(local.steps * share))


def alone(name: StrategyName, config: FederatedConfig) -> tuple[Descent, int, int]:
    """How a client goes on after the last round: (descent, steps at most, steps between looks at validation).

    Without exchange it makes all the steps here that others make in rounds.
    """
    strategy, personal, local = STRATEGIES[name], config.personal, config.local
    if strategy.learner == "small":
        base = config.base
        return Descent(base.rate, local.decay, momentum=0.9), base.steps, base.every
    rate, steps = personal.rate, personal.steps
    if strategy.learner == "bias_norm":
        rate *= local.adapter_rate / local.rate
        steps = max(1, round(steps * local.adapter_share))
    pull = {"fedprox": local.proximal, "ditto": local.pull}.get(name, 0.0)
    if strategy.exchanged == "none":
        steps += config.rounds * local.steps
    return Descent(rate, local.decay, pull=pull), steps, personal.every
