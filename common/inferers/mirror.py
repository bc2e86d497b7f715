"""Test-time augmentation: the mean over mirrored views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, combinations
from typing import Any

from monai.inferers import Inferer, SimpleInferer
from torch import Tensor

__all__ = ["MirrorInferer"]


class MirrorInferer(Inferer):
    """Run another inferer with a network that sees every input mirrored along all combinations of some axes.

    Each answer is mirrored back, and the network's outputs (logits, as a sliding window averages them too) are
    averaged. Views pass one after the other and inside the other inferer's windows: memory grows by one window's
    output, time by the number of views, 2 to the number of axes. (MONAI's ``TestTimeAugmentation`` replaces the
    evaluator, not the inferer.)

    Mirror only along axes that the training mirrors too.

    Args:
        inferer: does the work, a sliding window for example; a plain forward pass by default.
        axes: spatial axes, 0 being the first after the channels; none at all leaves the network as it is.

    Raises:
        ValueError: if an axis is not 0, 1 or 2, or is named twice.
    """

    def __init__(self, inferer: Inferer | None = None, *, axes: Sequence[int] = (0, 1, 2)) -> None:
        super().__init__()
        if not set(axes) <= {0, 1, 2} or len(set(axes)) < len(axes):
            raise ValueError(f"axes must be some of 0, 1 and 2, each once, got {tuple(axes)}")
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.axes = tuple(axes)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        axes = [axis + 2 for axis in self.axes]  # after batch and channel
        views = list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))

        def mean_over_views(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            total = network(x, *args, **kwargs)
            if len(views) == 1:
                return total
            total = total.float()
            for view in views[1:]:
                total = total + network(x.flip(view), *args, **kwargs).flip(view)
            return total / len(views)

        return self.inferer(inputs, mean_over_views, *args, **kwargs)
