"""One case ahead: the network's part of the next case runs while this one is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace, TracebackType
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor

__all__ = ["EngineView", "Prefetcher"]


class Prefetcher:
    """The batches of a loader, while a thread already works on the one that follows.

    When a batch comes out, the next one has been fetched and handed to the thread, and none after it: at most two cases
    are in memory. Batches are fetched in the caller's thread. An error of the loader is raised after the batches before
    it came out; one of ``work`` by :meth:`take`.

    Args:
        loader: its batches are dictionaries.
        work: batch -> (dictionary of tensors, anything), in the other thread.
        device: of that work; on CUDA it has a stream of its own, and is complete when it is taken.

    It is a context: leaving it waits for what is under way.
    """

    def __init__(
        self, loader: Iterable, work: Callable[[Any], tuple[dict[str, Any], Any]], *, device: torch.device
    ) -> None:
        self.loader = loader
        self.work = work
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="one-case-ahead")
        self._answer: Future | None = None

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        if self.stream is not None:
            torch.cuda.synchronize(self.device)  # the weights are there
        source = iter(self.loader)
        begun: list[tuple[Any, Future]] = []
        end = None
        while end is None:
            try:
                batch = next(source)
                begun.append((batch, self._thread.submit(self._work, batch)))
                del batch
            except Exception as error:  # the last batch has been, or the loader failed: first what has begun
                end = error
            if len(begun) > (end is None):
                self._answer = begun[0][1]
                yield begun.pop(0)[0]
        if not isinstance(end, StopIteration):
            raise end

    def take(self) -> tuple[dict[str, Any], Any]:
        """What ``work`` made of the batch that came out last, once; raises what it raised."""
        answer, self._answer = self._answer, None
        tensors, other = answer.result()
        if self.stream is not None:
            here = torch.cuda.current_stream(self.device)
            for value in tensors.values():
                if isinstance(value, Tensor) and value.is_cuda:  # its memory is not reused while this stream needs it
                    torch.Tensor.as_subclass(value, Tensor).record_stream(here)
        return tensors, other

    def _work(self, batch: Any) -> tuple[dict[str, Any], Any]:
        with ExitStack() as stack:
            if self.stream is not None:  # device and stream are a thread's own
                stack.enter_context(torch.cuda.device(self.device))
                stack.enter_context(torch.cuda.stream(self.stream))
            answer = self.work(batch)
            if self.stream is not None:
                self.stream.synchronize()
            return answer


class EngineView:
    """An engine as one iteration sees it, with a state of its own and without events."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.state = SimpleNamespace(device=engine.state.device, output=None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def fire_event(self, event: Any) -> None:
        """Nobody listens."""
