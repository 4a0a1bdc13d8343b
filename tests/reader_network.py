"""A module whose rows are sequences of any length."""

import torch


class Slider(torch.nn.Module):
    """Operators that the exporter of TorchScript knows."""

    def __init__(self):
        super().__init__()
        self.slide = torch.nn.Conv1d(4, 6, 3, padding=1)
        self.head = torch.nn.Linear(6, 2)

    def forward(self, x):
        return self.head(torch.relu(self.slide(x.transpose(1, 2))).mean(dim=2))


class Reader(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = torch.nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x):
        return torch.softmax(self.head(self.attend(x, x, x)[0].mean(dim=1)), dim=-1)
