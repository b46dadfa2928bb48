"""What is trained begins as it should, says what a plain module says, and moves nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from biofm.federated.cohort import Cohort
from biofm.federated.configuration import FederatedConfig, LocalConfig
from biofm.federated.division import TRAIN
from biofm.federated.learners import (
    BiasNorm,
    Head,
    SmallModel,
    adapted_names,
    inputs_to_windows,
    windows_to_inputs,
)
from biofm.federated.local import outputs_of, spread
from biofm.federated.participants import Participants
from biofm.federated.strategies import one_round


@pytest.fixture
def participants(small_cohort: Cohort) -> Participants:
    return Participants(small_cohort, {s: n for n, s in enumerate(small_cohort.clients)})


@pytest.mark.parametrize("hidden", [0, 6])
def test_a_head_is_the_linear_layers_of_torch(hidden: int) -> None:
    head = Head(7, 3, hidden)
    params = head.initial(3)
    assert all(torch.equal(head.initial(3)[k], v) for k, v in params.items())
    x = torch.randn(11, 7)
    # It begins undecided, so that a client which learned nothing yet says nothing wrong.
    assert not head.outputs(params, {"x": x}).any()
    layers = [nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)] if hidden else [nn.Linear(7, 3)]
    module = nn.Sequential(*layers)
    own = {k: v.detach() for k, v in zip(params, module.parameters(), strict=True)}
    assert [v.shape for v in own.values()] == [v.shape for v in params.values()]
    torch.testing.assert_close(head.outputs(own, {"x": x}), module(x))


def test_heads_of_other_seeds_begin_elsewhere() -> None:
    assert not torch.equal(
        Head(7, 3, 6).initial(0)["hidden.weight"], Head(7, 3, 6).initial(1)["hidden.weight"]
    )


def test_bias_norm_begins_as_the_head_on_the_encoders_own_embeddings(
    participants: Participants,
) -> None:
    bias_norm, head = participants.learner("bias_norm"), participants.learner("fedavg")
    torch.manual_seed(0)
    last = {k: torch.randn_like(v) for k, v in head.initial(0).items()}
    everybody = len(participants.subjects)
    for role in (TRAIN, 1, 2):
        windows = participants.part("bias_norm", role)
        embedded = participants.part("fedavg", role)
        raw = outputs_of(
            bias_norm, spread({**bias_norm.initial(0), **last}, everybody), windows.inputs
        )
        frozen = outputs_of(head, spread(last, everybody), embedded.inputs)
        there = windows.weight > 0
        assert torch.equal(there, embedded.weight > 0)
        torch.testing.assert_close(raw[there], frozen[there], rtol=1e-4, atol=1e-4)
        assert frozen[there].std() > 0.1


def test_only_biases_and_norms_move(small_cohort: Cohort, participants: Participants) -> None:
    encoder = small_cohort.model.encoder
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    learner = participants.learner("bias_norm")
    begin = learner.initial(0)
    subjects = participants.subjects
    sent, kept, _ = one_round(
        "bias_norm",
        learner,
        LocalConfig(steps=3, adapter_rate=0.5),
        spread(begin, len(subjects)),
        {},
        participants.part("bias_norm", TRAIN),
        participants._batches(subjects, 1, 3, 8),
    )
    assert not kept
    names = {k.removeprefix("encoder.") for k in sent if k.startswith("encoder.")}
    own = dict(encoder.named_parameters())
    for name in own:
        norm = "norm" in name
        assert (name in names) == (name.endswith(".bias") or norm), name
    assert names == set(adapted_names(encoder))
    moved = [k for k in sent if k.startswith("encoder.") and not torch.equal(sent[k][0], begin[k])]
    # A bias of keys moves no attention; all else is moved by a step.
    assert len(moved) > 0.8 * len(names)
    # The encoder itself, which other strategies share, is as it was.
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_an_encoder_without_biases_has_nothing_to_adapt(small_cohort: Cohort) -> None:
    bare = nn.Sequential(nn.Linear(3, 3, bias=False))
    with pytest.raises(ValueError, match="bias_norm: the encoder has no bias and no norm"):
        BiasNorm(bare, {}, Head(3, 2, 0))  # type: ignore[arg-type] # no encoder, but it is not run


def test_a_small_model_is_convolutions_then_a_linear_layer() -> None:
    model = SmallModel({"hr": (2, 50), "counts": (1, 3)}, 4)
    params = {k: torch.randn_like(v) for k, v in model.initial(0).items()}
    inputs = {"hr": torch.randn(5, 2, 50), "counts": torch.randn(5, 1, 3)}
    layers: list[nn.Module] = []
    before = 2
    for layer, maps in enumerate(model.WIDTHS):
        conv = nn.Conv1d(before, maps, 7, stride=4 if layer == 0 else 2, padding=3)
        conv.load_state_dict({p: params[f"hr.{layer}.{p}"] for p in ("weight", "bias")})
        layers += [conv, nn.ReLU()]
        before = maps
    pooled = nn.Sequential(*layers)(inputs["hr"]).mean(dim=2)
    both = torch.cat([pooled, inputs["counts"].flatten(1)], dim=1)
    wanted = both @ params["output.weight"].T + params["output.bias"]
    torch.testing.assert_close(model.outputs(params, inputs), wanted, rtol=1e-4, atol=1e-4)


def test_windows_become_plain_tensors_and_windows_again(
    small_cohort: Cohort, small_config: FederatedConfig
) -> None:
    streams = small_cohort.streams
    inputs = windows_to_inputs(streams)
    rows = torch.tensor([3, 0, 7])
    back = inputs_to_windows({k: v[rows] for k, v in inputs.items()}, streams)
    assert back.keys() == streams.keys()
    for name, windows in back.items():
        assert torch.equal(windows.physical()[0], streams[name].physical()[0][rows])
        assert windows.channels == streams[name].channels
