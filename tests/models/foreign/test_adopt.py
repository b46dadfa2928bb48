"""Other makers' checkpoints: the same function as an independent plain one, and every misfit refused.

The reference below is written from the published description of ST-MEM's encoder, on the names and layouts
of its public checkpoints. No weights of theirs are here: all are drawn at random.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy import signal as dsp
from torch import Tensor
from torch.nn import functional as F

from biofm import load_model
from biofm.configuration import CONFIGS, read_config
from biofm.evaluation.embeddings import pooled_layers
from biofm.models.encoder import EncoderConfig
from biofm.models.foreign.adopt import adopt, load_foreign
from biofm.models.foreign.checkpoint import read_tensors
from biofm.models.foreign.mapping import fitted
from biofm.models.vit import ViTEncoder
from biofm.shards.configuration import BuildConfig
from biofm.signals import LEADS_12, Recording, Signal
from biofm.signals.windows import Windows
from biofm.verbs import call

State = dict[str, Tensor]


def st_mem(width: int, depth: int, seed: int = 0) -> State:
    """A state dict as ST-MEM's encoder has it."""
    draw = torch.Generator().manual_seed(seed)

    def some(*shape: int, scale: float = 0.1) -> Tensor:
        return torch.randn(*shape, generator=draw) * scale

    state = {"pos_embedding": some(1, 32, width), "sep_embedding": some(width)}
    state |= {f"lead_embeddings.{lead}": some(width) for lead in range(12)}
    norms = {"to_patch_embedding.1": 75, "to_patch_embedding.3": width, "norm": width}
    linears = {"to_patch_embedding.2": (width, 75)}
    for block in range(depth):
        at = f"block{block}"
        norms |= {f"{at}.attn.norm": width, f"{at}.ff.norm": width}
        linears |= {
            f"{at}.attn.fn.to_qkv": (3 * width, width),
            f"{at}.attn.fn.to_out.0": (width, width),
            f"{at}.ff.fn.net.0": (4 * width, width),
            f"{at}.ff.fn.net.3": (width, 4 * width),
        }
    for name, size in norms.items():
        state |= {f"{name}.weight": 1 + some(size), f"{name}.bias": some(size)}
    for name, (to, of) in linears.items():
        state |= {f"{name}.weight": some(to, of, scale=of**-0.5), f"{name}.bias": some(to)}
    return state


def st_mem_embedding(state: Mapping[str, Tensor], x_CT: Tensor, depth: int, heads: int) -> Tensor:
    """One standardised window of 12 leads → its embedding, lead by lead and head by head."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / (variance + 1e-5).sqrt() * state[f"{name}.weight"] + state[
            f"{name}.bias"
        ]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    place = state["pos_embedding"][0]
    sequence = []
    for lead in range(12):
        patches = x_CT[lead].reshape(-1, 75)
        tokens = norm(
            linear(norm(patches, "to_patch_embedding.1"), "to_patch_embedding.2"),
            "to_patch_embedding.3",
        )
        tokens = tokens + place[1 : len(tokens) + 1]
        ends = [(state["sep_embedding"] + place[end])[None] for end in (0, -1)]
        sequence.append(torch.cat([ends[0], tokens, ends[1]]) + state[f"lead_embeddings.{lead}"])
    z = torch.cat(sequence)
    width = z.shape[1] // heads
    for block in range(depth):
        q, k, v = linear(norm(z, f"block{block}.attn.norm"), f"block{block}.attn.fn.to_qkv").chunk(
            3, dim=-1
        )
        seen = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            weights = torch.softmax(q[:, part] @ k[:, part].T * width**-0.5, dim=-1)
            seen.append(weights @ v[:, part])
        z = z + linear(torch.cat(seen, dim=-1), f"block{block}.attn.fn.to_out.0")
        hidden = F.gelu(linear(norm(z, f"block{block}.ff.norm"), f"block{block}.ff.fn.net.0"))
        z = z + linear(hidden, f"block{block}.ff.fn.net.3")
    kept = z.reshape(12, -1, z.shape[1])[:, 1:-1]
    return norm(kept.reshape(-1, z.shape[1]).mean(dim=0), "norm")


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped description, in a size that tests can afford."""
    text = (CONFIGS / "encoders/st_mem.yaml").read_text()
    assert "sizes: [base, small]" in text
    path = tmp_path_factory.mktemp("like") / "mini.yaml"
    path.write_text(text.replace("sizes: [base, small]", "sizes: [tiny, mini]"))
    return path


def ecg(samples: int = 2250, batch: int = 2) -> Windows:
    draw = torch.Generator().manual_seed(1)
    digital = torch.randint(-2000, 2000, (batch, 12, samples), dtype=torch.int16, generator=draw)
    shape = (batch, 12)
    return Windows("ecg", 250.0, LEADS_12, digital, torch.full(shape, 1e-3), torch.zeros(shape))


def standardised(windows: Windows) -> Tensor:
    """As ST-MEM does it: over all leads and samples of a window, without a floor."""
    x_BCT = windows.physical()[0].double()
    mean, deviation = x_BCT.mean((1, 2), keepdim=True), x_BCT.std((1, 2), False, keepdim=True)
    return (x_BCT - mean) / deviation


@pytest.mark.parametrize("samples", [2250, 1500])
@pytest.mark.parametrize("unit", [1.0, 1e-4])
def test_it_is_the_same_function_as_the_published_one(
    mini: Path, tmp_path: Path, samples: int, unit: float
) -> None:
    state = st_mem(192, 6)
    save_file(state, tmp_path / "st_mem.safetensors")
    model = load_model(adopt(tmp_path / "st_mem.safetensors", like=str(mini), out=tmp_path / "out"))
    assert model.encoder.config.size == "mini"
    windows = ecg(samples)
    windows = dataclasses.replace(windows, scale=windows.scale * unit)
    double = {name: tensor.double() for name, tensor in state.items()}
    expected = torch.stack(
        [st_mem_embedding(double, x, depth=6, heads=3) for x in standardised(windows)]
    )
    with torch.no_grad():
        found = model({"ecg": windows})
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=2e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    assert torch.equal(pooled_layers(model.encoder, {"ecg": windows}, [5]), found)


def test_the_published_sizes_have_the_published_number_of_parameters() -> None:
    foreign = load_foreign("st_mem")
    with torch.device("meta"):
        base = ViTEncoder(dataclasses.replace(foreign.encoder, size="base"))
    assert sum(p.numel() for p in base.parameters()) == 85_150_614
    assert foreign.sizes == ("base", "small")
    fit = fitted(st_mem(384, 12), foreign)
    assert (fit.config.size, fit.unused) == ("small", [])


def test_its_preprocessing_is_that_of_the_shards_that_the_docs_name() -> None:
    foreign = load_foreign("st_mem")
    shards = read_config(BuildConfig, CONFIGS / "shards/ptbxl_250hz.yaml")
    assert shards.preprocessing.ecg == foreign.preprocessing
    assert foreign.window_s * foreign.preprocessing.rate_hz == 2250


def test_embed_on_a_raw_recording_does_what_its_makers_do(mini: Path, tmp_path: Path) -> None:
    """500 Hz → 250 Hz, 0.67–40 Hz, nine seconds; on a signal that fades out, so that ends do not matter."""
    state = st_mem(192, 6)
    torch.save(state, tmp_path / "st_mem.pth")
    model = load_model(adopt(tmp_path / "st_mem.pth", like=str(mini), out=tmp_path / "out"))
    time_s = np.arange(5000) / 500
    waves = [np.sin(2 * np.pi * (1 + 4 * lead) * time_s + lead) for lead in range(12)]
    x_mv = (np.stack(waves) * np.exp(-(((time_s - 4.5) / 1.2) ** 2))).astype(np.float32)
    recording = Recording("test", "r", "s", (Signal("ecg", x_mv, 500.0, LEADS_12),))
    windows = model.windows(recording)["ecg"]
    theirs: NDArray[np.floating[Any]] = dsp.resample(x_mv, 2500, axis=1)
    theirs = dsp.sosfiltfilt(dsp.butter(5, 0.67, "high", fs=250, output="sos"), theirs)
    theirs = dsp.sosfiltfilt(dsp.butter(5, 40, "low", fs=250, output="sos"), theirs)
    ours = windows.physical()[0].numpy()
    assert ours.shape == (1, 12, 2250)
    np.testing.assert_allclose(ours[0], theirs[:, :2250], atol=2e-3)
    assert np.abs(ours[0]).max(axis=1).min() > 0.05
    assert model.embed(recording).shape == (1, 192)


def test_a_whole_model_of_ddp_under_a_key_is_found_and_its_decoder_left_out(
    mini: Path, tmp_path: Path
) -> None:
    state = st_mem(192, 6)
    whole = {f"module.encoder.{name}": tensor for name, tensor in state.items()}
    patch = [n for n in state if n.startswith("to_patch_embedding")]
    whole |= {f"module.{name}": state[name] for name in patch}
    whole |= {
        "module.mask_embedding": torch.zeros(1, 1, 8),
        "module.decoder_pos_embed": torch.zeros(1, 32, 8),
        "module.decoder_blocks.0.attn.norm.weight": torch.ones(8),
        "module.to_decoder_embedding.weight": torch.ones(8, 192),
    }
    torch.save({"model": whole, "epoch": 3, "config": {"lr": 0.1}}, tmp_path / "whole.pth")
    torch.save({"state_dict": {f"model.{n}": t for n, t in state.items()}}, tmp_path / "lightning")
    first, second = (
        load_model(adopt(tmp_path / name, like=str(mini), out=tmp_path / f"out-{name}"))
        for name in ("whole.pth", "lightning")
    )
    mine, other = first.encoder.state_dict(), second.encoder.state_dict()
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    card = (tmp_path / "out-whole.pth" / "README.md").read_text()
    assert "`mask_embedding`" in card
    assert "CC BY-NC 4.0" in card
    assert first.facts["adopted"] == "ST-MEM"


def without(name: str) -> Any:
    return lambda state: state.pop(name)


def changed(name: str, tensor: Tensor) -> Any:
    return lambda state: state.update({name: tensor})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("norm.weight"), r"missing: blocks\.norm\.weight \[192\]"),
        (without("lead_embeddings.4"), r"channel_embedding needs rows 0 to 11, found"),
        (changed("lead_embeddings.12", torch.zeros(192)), r"needs rows 0 to 11"),
        (changed("cls_token", torch.zeros(192)), "left over: cls_token"),
        (changed("block6.ff.norm.bias", torch.zeros(192)), r"left over: block6\.ff\.norm\.bias"),
        (
            changed("pos_embedding", torch.zeros(1, 31, 192)),
            r"shape \[1, 31, 192\].*needs \[32, 192\]",
        ),
        (changed("sep_embedding", torch.full((192,), torch.nan)), "no finite"),
        (changed("sep_embedding", torch.ones(192, dtype=torch.int8)), r"torch\.int8"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_written(
    damage: Any, said: str, mini: Path, tmp_path: Path
) -> None:
    state = st_mem(192, 6)
    damage(state)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=said):
        adopt(tmp_path / "bad.pth", like=str(mini), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Opens:
    """A pickle that would create a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    torch.save({"model": st_mem(192, 1), "extra": Opens(trap)}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Opens(trap), protocol=2))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(ValueError, match="more than tensors and plain values"):
            read_tensors(tmp_path / name)
    assert not trap.exists()


def test_files_that_are_no_checkpoint_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        read_tensors(tmp_path / "absent.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ValueError, match="no whole safetensors"):
        read_tensors(tmp_path / "cut.safetensors")
    torch.save({"epoch": 1}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match=r"no tensor.*epoch"):
        read_tensors(tmp_path / "empty.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="expected tensors by name, found list"):
        read_tensors(tmp_path / "list.pth")
    torch.save(st_mem(192, 1), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"half\.pth"):
        read_tensors(tmp_path / "half.pth")


def test_windows_longer_than_its_places_are_refused_with_the_remedy(mini: Path) -> None:
    fit = fitted(st_mem(192, 6), load_foreign(str(mini)))
    encoder = ViTEncoder(fit.config)
    with pytest.raises(ValueError, match=r"30 places.*9 s.*have 33.*window_s"):
        encoder(ecg(2500))


def test_the_command_writes_the_folder_and_does_not_overwrite(mini: Path, tmp_path: Path) -> None:
    save_file(st_mem(192, 6), tmp_path / "st_mem.safetensors")
    words = [str(tmp_path / "st_mem.safetensors"), "--like", str(mini)]
    words += ["--out", str(tmp_path / "out")]
    assert call(adopt, "biofm adopt", words) == tmp_path / "out"
    assert load_model(tmp_path / "out").window_s == 9.0
    with pytest.raises(FileExistsError, match="choose another"):
        call(adopt, "biofm adopt", words)
    with pytest.raises(FileNotFoundError, match=r"encoders/unknown.*encoders/st_mem"):
        load_foreign("unknown")


def test_learned_positions_need_no_separators_and_train() -> None:
    patch = dataclasses.replace(EncoderConfig().patch, rate_hz=250.0, positions=125)
    encoder = ViTEncoder(EncoderConfig(depth=1, patch=patch))
    encoder(ecg()).square().sum().backward()
    gradient = encoder.tokenizer.position_embedding.grad
    assert gradient is not None
    # 2250 samples in patches of 20: 112 places are used.
    assert gradient[:112].abs().sum(dim=1).min() > 0
    assert not gradient[112:].any()
