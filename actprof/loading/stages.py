"""Where the time goes inside one sample: lerobot's own reader, with a stopwatch at its seams.

Cameras are decoded one after another here, so that the parts add up; in training lerobot decodes them in
threads. The seams are names of `lerobot.datasets` 0.6 and what it calls: `av.open`, `seek`, `decode`,
`VideoDecoderCache.get_decoder`, `get_frames_at`, the decoding of an image, the image transform.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, Self
from unittest import mock

from actprof.loading.rows import STAGES


class Stopwatch:
    """Adds up seconds by name, inner parts not counted for the outer ones; and frames that were decoded."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.frames = 0
        self._clock = clock
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside for `name`."""
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, its calls counted for `name`."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return timed

    def _book(self) -> None:
        now = self._clock()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


def time_stages(
    dataset: Any, indices: Sequence[int], collate: Callable[[list[Any]], Any], *, seconds: float, batch: int
) -> tuple[dict[str, float], float | None]:
    """Return seconds of one sample by part, and the frames that it decodes (None where they are not seen).

    The samples at `indices` are read in this order, until about so many `seconds` are over; the faster half
    counts, which other programs disturbed least. `collate` makes a batch of `batch` samples; the faster of
    two times counts.
    """
    samples: deque[Any] = deque([dataset[indices[0]]], maxlen=batch)  # what is opened once is not a sample's
    watches: list[Stopwatch] = []
    end = time.perf_counter() + seconds
    for index in indices:
        watch = Stopwatch()
        with seams(dataset, watch), watch.part("rest"):
            samples.append(dataset[index])
        watches.append(watch)
        if time.perf_counter() > end:
            break
    counted = sorted(watches, key=lambda watch: sum(watch.seconds.values()))[: (len(watches) + 1) // 2]
    parts = {name: sum(watch.seconds[name] for watch in counted) / len(counted) for name in STAGES}
    parts["collate"] = min(_time_collate(collate, list(samples)) for _ in range(2)) / len(samples)
    frames = sum(watch.frames for watch in watches) / len(watches)
    return {name: spent for name, spent in parts.items() if spent}, frames or None


def _time_collate(collate: Callable[[list[Any]], Any], samples: list[Any]) -> float:
    start = time.perf_counter()
    collate(samples)
    return time.perf_counter() - start


@contextmanager
def seams(dataset: Any, watch: Stopwatch) -> Iterator[None]:
    """Inside, reading a sample of `dataset` is booked on `watch` by parts."""
    from lerobot.datasets import dataset_reader, io_utils, video_utils

    reader = dataset.reader
    cache, image = video_utils.VideoDecoderCache, dataset_reader.datasets.Image
    get_decoder, decode_image = cache.get_decoder, image.decode_example

    def timed_decoder(self: Any, path: str) -> Any:
        with watch.part("open"):
            return _Decoder(get_decoder(self, path), watch)

    def timed_image(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch.frames += 1
        with watch.part("decode"):
            return decode_image(self, *args, **kwargs)

    replaced: list[tuple[Any, str, Any]] = [
        (dataset_reader, "ThreadPoolExecutor", _OneAfterAnother),
        (dataset_reader, "decode_video_frames", watch.around("convert", dataset_reader.decode_video_frames)),
        (video_utils, "av", _Av(video_utils.av, watch)),
        (cache, "get_decoder", timed_decoder),
        (io_utils, "pil_to_chw_tensor", watch.around("convert", io_utils.pil_to_chw_tensor)),
        (image, "decode_example", timed_image),
        (reader, "_query_hf_dataset", watch.around("rows", reader._query_hf_dataset)),
        (reader, "hf_dataset", _Rows(reader.hf_dataset, watch)),
    ]
    if reader._image_transforms is not None:
        replaced.append((reader, "_image_transforms", watch.around("transform", reader._image_transforms)))
    with ExitStack() as stack:
        for owner, name, new in replaced:
            stack.enter_context(mock.patch.object(owner, name, new))
        yield


class _Booked:
    """Hands everything on to what it stands for, and books calls of some of its methods."""

    parts: ClassVar[dict[str, str]] = {}

    def __init__(self, inner: Any, watch: Stopwatch) -> None:
        self._inner, self._watch = inner, watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._watch.around(self.parts[name], found) if name in self.parts else found


class _Rows(_Booked):
    """The table of rows."""

    def __getitem__(self, key: Any) -> Any:
        with self._watch.part("rows"):
            return self._inner[key]


class _Decoder(_Booked):
    """A decoder of torchcodec, which seeks, decodes and converts in one call."""

    parts: ClassVar = {"get_frames_at": "decode"}


class _Av(_Booked):
    """PyAV, as far as lerobot reads with it."""

    def open(self, *args: Any, **kwargs: Any) -> _Container:
        with self._watch.part("open"):
            return _Container(self._inner.open(*args, **kwargs), self._watch)


class _Container(_Booked):
    """An open video."""

    parts: ClassVar = {"seek": "seek"}

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        with self._watch.part("open"):
            self._inner.__exit__(*error)

    def decode(self, *args: Any) -> Iterator[Any]:
        frames = self._inner.decode(*args)
        while True:
            with self._watch.part("decode"):
                frame = next(frames, None)
            if frame is None:
                return
            self._watch.frames += 1
            yield frame


class _OneAfterAnother:
    """A ThreadPoolExecutor whose threads, new ones for each sample as in lerobot, wait for each other."""

    def __init__(self, **_options: Any) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        done = self._pool.submit(function, *args)
        done.exception()  # waits
        return done
