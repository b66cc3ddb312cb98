"""Self-tuning in your own training loop: dropout, weight decay and input noise of your own model, in one run.

python examples/self_tuning_loop.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split

from hypertune import STN, SearchSpace, attach


def main(epochs: int = 60) -> float:
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
    train, tune, test = random_split(data, [500, 300, 997])

    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, 10))
    space = SearchSpace.from_mapping(
        {
            "dropout": {"type": "float", "low": 0.0, "high": 0.9},
            "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
            "input_noise": {"type": "float", "low": 0.0, "high": 1.0},
        }
    )
    model = attach(net, space, start={"dropout": 0.4, "weight_decay": 1e-3, "input_noise": 0.4})
    stn = STN(
        model,
        lambda outputs, targets: functional.cross_entropy(outputs, targets, reduction="none"),
        weights=lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    )
    for epoch in range(epochs):
        for step, (x, y) in enumerate(DataLoader(train, batch_size=50, shuffle=True)):
            stn.weight_step(x, y)
            if epoch >= 5 and step % 5 == 4:
                stn.tune_step(*next(iter(DataLoader(tune, batch_size=100, shuffle=True))))
    plain = stn.detach_response().eval()  # your network again, with tuned weights

    with torch.no_grad():
        x, y = test.dataset[test.indices]
        accuracy = (plain(x).argmax(dim=1) == y).float().mean().item()
    print(f"tuned to {stn.tuned()}; test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
