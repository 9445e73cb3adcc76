from __future__ import annotations

import pytest
import torch
from torch import nn

from vegrt.train.loop.head import Features, train_head
from vegrt.train.loop.validation import validation_result
from vegrt.train.recipe import Recipe


def test_head_ends_with_its_best_epoch() -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(64, 16), torch.randint(0, 3, (64,))
    train, contradicting = (
        Features(features, labels),
        Features(features, (labels + 1) % 3),
    )  # the better it learns, the worse it is judged
    head = nn.Linear(16, 3)
    recipe = Recipe(epochs_head=5, lr_head=0.1, batch_size=16)
    losses = [record.validation_loss for record, _ in train_head(head, recipe, train, contradicting, None)]
    assert min(losses) < losses[-1]
    with torch.no_grad():
        assert validation_result(head(features), contradicting.labels).loss == pytest.approx(min(losses))
