"""Differential privacy by Flower's own means, and the ε that it comes to.

- **Central** (`central_noise`): the server clips each update and adds noise to their mean. A client (one person) is
  what is protected, against whoever sees the model; the server itself is trusted.
- **Local** (`local_epsilon`): each client clips its update and adds the noise before it is sent. An update can differ
  from any other by twice the clipping norm.
- The noise at the server is for so many clients as were asked. A round in which one of them does not answer is not
  released, and costs nothing (Flower's rule where it counts ε).
- ε is of one strategy's rounds. Whoever sees the models of several strategies has seen all of their rounds.
- ε of all rounds is by Rényi accounting (Mironov, CSF 2017; Google's dp-accounting). No credit is taken for asking a
  part of the clients: Flower's accountant takes none with a fixed number of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flwr.app import Message
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    RdpAccountant,
    SamplingMethod,
)
from flwr.serverapp import PrivacyConfig as Accounting
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    Strategy,
)

from .configuration import FederatedConfig, PrivacyConfig
from .messages import TRAIN, empty_context


def protected(
    config: FederatedConfig, message: Message, reply: Callable[[Message], Message]
) -> Message:
    """A client's reply, with noise where the client is to add it: Flower's modifier around it."""
    privacy = config.privacy
    if not privacy.local_epsilon or message.metadata.message_type != TRAIN:
        return reply(message)
    modifier = LocalDpMod(privacy.clip, 2 * privacy.clip, privacy.local_epsilon, privacy.delta)
    return modifier(message, empty_context(), lambda asked, _context: reply(asked))


def with_noise(strategy: FedAvg, privacy: PrivacyConfig, clients: int, asked: int) -> Strategy:
    """A strategy whose server clips and adds noise, with its accountant; the same one where it does not."""
    if not privacy.central_noise:
        return strategy
    return DifferentialPrivacyServerSideFixedClipping(
        strategy,
        privacy.central_noise,
        privacy.clip,
        asked,
        accountant=accountant(privacy, clients),
    )


def accountant(privacy: PrivacyConfig, clients: int) -> RdpAccountant:
    """Of releases whose neighbours differ by one client."""
    terms = Accounting(
        target_delta=privacy.delta,
        population_size=clients,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        sampling_method=SamplingMethod.NO_AMPLIFICATION,
    )
    return RdpAccountant(terms)


def local_epsilon(privacy: PrivacyConfig, releases: int) -> float:
    """The ε of so many releases of one client, each of `privacy.local_epsilon` on its own."""
    multiplier = math.sqrt(2 * math.log(1.25 / privacy.delta)) / privacy.local_epsilon
    spent = accountant(privacy, 1)
    spent.compose(GaussianPrivacyEvent(multiplier, 1, 1), releases)
    return spent.get_epsilon(privacy.delta)
