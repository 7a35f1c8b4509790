"""Small images of the digits, and a small ResNet from a config that teaches them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def digits() -> tuple[TensorDataset, TensorDataset]:
    """(train, val): images [n, 1, 8, 8] and their classes."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    inputs = torch.tensor(images[order] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    truth = torch.tensor(labels[order])
    return TensorDataset(inputs[:480], truth[:480]), TensorDataset(inputs[480:880], truth[480:880])


def trained_resnet() -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(1)
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
    teacher = ResNetForImageClassification(ResNetConfig(num_channels=1, num_labels=10, **sizes)).train()
    optimizer = torch.optim.Adam(teacher.parameters(), 5e-3)
    loader = DataLoader(digits()[0], 48, shuffle=True, generator=torch.Generator().manual_seed(0))
    for _ in range(12):
        for inputs, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(teacher(inputs).logits, labels).backward()
            optimizer.step()
    return teacher.eval().requires_grad_(False)


def small_student() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.02), nn.Linear(48, 10))
