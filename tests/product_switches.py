"""How the matrix products of a computation were made."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class ProductSwitches(TorchDispatchMode):
    """A region; afterwards `products` has TF32's switch and the dtype of each product in it."""

    def __init__(self):
        super().__init__()
        self.products = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.products.append((torch.backends.cuda.matmul.allow_tf32, out.dtype))
        return out
