"""The interpreter of exported programs gives what torch gives, to the last bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import served_models
import torch
from ringyard_serving.archive import read_archive
from ringyard_serving.errors import ArtifactError
from ringyard_serving.program import Program
from torch import nn


class Images(nn.Module):
    """Rows of 64 values as 8 x 8 images through the layers that image models are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5)
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(rows.view(rows.shape[0], 1, 8, 8)))


class Attention(nn.Module):
    """A transformer layer, sizes taken from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(8, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        tokens = rows.reshape(rows.shape[0], -1, 8)
        return self.layer(tokens + self.position[: tokens.shape[1]]).mean(dim=1)


class Recurrent(nn.Module):
    """An LSTM, with the results of splits, stacks and concatenations."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(8, 5, batch_first=True)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        out, (hidden, _) = self.cell(rows.view(rows.shape[0], 8, 8))
        left, right = out.split([2, 3], dim=-1)
        best, place = torch.topk(torch.cat([left, right], dim=-1)[:, -1], 2)
        return torch.cat([best, place.to(rows.dtype), hidden[0], torch.where(best > 0, best, -best)], dim=-1)


class Tied(nn.Module):
    """One weight used twice, a buffer that is not saved, a constant, an index."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.rand(64), persistent=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        mixed = self.second(torch.tanh(self.first(rows))) * self.scale
        return mixed[:, torch.tensor([3, 1, 2])].clamp(min=float("-inf"), max=0.5)


@pytest.mark.parametrize("kind", [Images, Attention, Recurrent, Tied])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_models_of_many_kinds_give_the_same_numbers(tmp_path: Path, kind: type[nn.Module], dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    module = kind().to(dtype).eval()
    exported = served_models.export(module, torch.randn(2, 64, dtype=dtype))
    torch.export.save(exported, tmp_path / "model.pt2")
    program = Program(read_archive(tmp_path / "model.pt2"))
    reference = exported.module()
    tolerance = 1e-6 if dtype is torch.float32 else 1e-13
    for rows in (1, 2, 7):
        sample = torch.randn(rows, 64, dtype=dtype)
        with torch.inference_mode():
            torch.testing.assert_close(program(sample)[0], reference(sample), rtol=tolerance, atol=tolerance)


def test_a_program_that_changes_its_own_state_is_refused(tmp_path: Path) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            self.seen.add_(1)
            return rows + self.seen

    torch.export.save(served_models.export(Counting(), torch.zeros(2, 64)), tmp_path / "model.pt2")
    with pytest.raises(ArtifactError, match="eval mode"):
        Program(read_archive(tmp_path / "model.pt2"))
