"""Training in several processes: `torchrun ... -m vegrt.cli train` starts them, accelerate connects them.

Each process takes its share of every batch, and gradients are averaged, so N processes take the same steps as a single one.
Only the first process writes the bundle, the checkpoints and the history. On several machines, all processes need the same
data and the same OUT.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vegrt.backbones import TIMM
from vegrt.errors import VegrtError, require
from vegrt.train.loop.device import pick_device

T = TypeVar("T")


class ProcessGroup:
    """The processes of this training. With a single process every method returns its argument."""

    def __init__(self, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.rank: int = accelerator.process_index if accelerator else 0
        self.size: int = accelerator.num_processes if accelerator else 1
        self.device: torch.device = accelerator.device if accelerator else pick_device()

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, the only one that writes."""
        return self.rank == 0

    def share(self, batch: Sequence[T]) -> list[T]:
        """Return this process's part of a batch. Drops a remainder, because unequal parts would have unequal weights."""
        return list(batch[self.rank : len(batch) // self.size * self.size : self.size])

    def portion(self, items: Sequence[T]) -> list[T]:
        """Return this process's consecutive part of the items to evaluate; the last parts may be smaller, or empty."""
        count = -(-len(items) // self.size)
        return list(items[self.rank * count : (self.rank + 1) * count])

    def prepare(self, network: nn.Module, backbone: str) -> nn.Module:
        """Return the network; on GPUs its batch norms use the whole batch, on CPUs the share of each process."""
        if self.size > 1 and self.device.type == "cuda":
            convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
            if backbone.startswith(TIMM):  # torch's converter loses the activations inside timm's batch norms
                convert = require("timm.layers", "timm").convert_sync_batchnorm
            converted: nn.Module = convert(network)
            return converted
        return network

    def connect(self, model: nn.Module) -> nn.Module:
        """Return a model whose backward pass averages the gradients; it starts from the first process's weights."""
        connected: nn.Module = self._accelerator.prepare_model(model) if self._accelerator else model
        return connected

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the processes."""
        result: Tensor = self._accelerator.reduce(values, "mean") if self._accelerator else values
        return result

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over the processes."""
        result: Tensor = self._accelerator.reduce(values, "sum") if self._accelerator else values
        return result

    @property
    def asks_cheaply(self) -> bool:
        """Whether `any` can be called at every step. With several GPUs it waits for all of them."""
        return self.size == 1 or self.device.type == "cpu"

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return bool(self.total(torch.tensor(float(flag), device=self.device)) > 0) if self.size > 1 else flag

    def gather(self, items: list[T]) -> list[T]:
        """Return the items of all processes, the first one's first."""
        if not self._accelerator:
            return items
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object(items)
        return gathered

    def align(self, module: nn.Module) -> None:
        """Copy the first process's values into the module: batch norm statistics differ between processes."""
        if self._accelerator:
            from accelerate.utils import broadcast

            for tensor in (*module.parameters(), *module.buffers()):
                tensor.data.copy_(broadcast(tensor.detach()))

    def wait(self) -> None:
        """Return when all processes have called this."""
        if self._accelerator:
            self._accelerator.wait_for_everyone()


def join_process_group(batch_size: int) -> ProcessGroup:
    """Return the processes that torchrun started, or this process alone. Only the first one logs warnings.

    Raises VegrtError when the batch does not divide among the processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ProcessGroup()
    if batch_size % size:
        raise VegrtError(f"recipe: batch_size {batch_size} does not divide among {size} processes; expected a multiple")
    accelerate = require("accelerate", "distributed")
    processes = ProcessGroup(accelerate.Accelerator(cpu=not torch.cuda.is_available()))
    if not processes.is_first:
        logging.getLogger("vegrt").setLevel(logging.ERROR)
    return processes
