"""A slow, obvious allocator to compare with: it stores segments and blocks in use, and derives the rest.

Free blocks are the gaps between blocks in use; every search is a scan. It shares nothing with the package
but the settings.
"""

from __future__ import annotations

MIB = 1024**2
PAGE = {True: 2 * MIB, False: 20 * MIB}


class SlowOutOfMemoryError(Exception):
    """The device has no memory left."""


class Segment:
    """A range of addresses and the blocks in use in it."""

    def __init__(self, start, size, stream, is_small):
        self.start, self.size, self.stream, self.is_small = start, size, stream, is_small
        self.used = {}  # address -> block size
        self.mapped = set()  # indices of pages that have memory (expandable only)
        self.born = 0

    def runs(self, page=None):
        """Return (start, size, kind) with kind `used`, `free` or `unmapped`, in order of addresses."""
        cuts, position = [], self.start
        for address in [*sorted(self.used), self.start + self.size]:
            if position < address:
                cuts += self._gaps(position, address, page)
            if address in self.used:
                cuts.append((address, self.used[address], "used"))
                position = address + self.used[address]
        return cuts

    def _gaps(self, start, stop, page):
        if page is None:
            return [(start, stop - start, "free")]
        runs = []
        while start < stop:
            index = (start - self.start) // page
            kind = "free" if index in self.mapped else "unmapped"
            end = min(stop, self.start + (index + 1) * page)
            if runs and runs[-1][2] == kind:
                runs[-1] = (runs[-1][0], end - runs[-1][0], kind)
            else:
                runs.append((start, end - start, kind))
            start = end
        return runs


class SlowAllocator:
    """Allocates by scanning; agrees with CachingAllocator under the rules of torch 2.6 to 2.11."""

    def __init__(self, config, *, capacity_bytes, places):
        self.config, self.capacity, self.places = config, capacity_bytes, places
        fraction = config.per_process_memory_fraction
        self.allowed = None if fraction in {None, 1.0} else int(capacity_bytes * fraction)
        self.segments, self.requests, self.searches, self.retries = [], {}, 0, 0

    @property
    def reserved(self):
        if self.config.expandable_segments:
            return sum(len(s.mapped) * PAGE[s.is_small] for s in self.segments)
        return sum(s.size for s in self.segments)

    @property
    def allocated(self):
        return sum(sum(s.used.values()) for s in self.segments)

    def malloc(self, size, stream):
        want = self._round(size)
        is_small = want <= MIB
        self.searches += not is_small
        segment, start, room = self._best_fit(want, stream, is_small) or self._obtain(want, stream, is_small)
        rest = room - want
        if is_small or self.config.expandable_segments:
            splits = rest >= 512
        else:
            limit = self.config.max_split_size_bytes
            splits = rest > MIB and (limit is None or want < limit)
        segment.used[start] = want if splits else room
        self.requests[start] = size
        return start

    def free(self, address):
        (segment,) = [s for s in self.segments if address in s.used]
        del segment.used[address], self.requests[address]
        segment.born = self.searches

    def empty_cache(self):
        for is_small in (False, True):
            if self.config.expandable_segments:
                self._unmap(is_small)
            else:
                self.segments = [s for s in self.segments if s.used or s.is_small != is_small]

    def _round(self, size):
        divisions = self.config.roundup_power2_divisions
        if divisions and size >= 512:
            power = 1
            while power * 2 <= size:
                power *= 2
            interval = 0
            while interval < 15 and power >= MIB * 2 ** (interval + 1):
                interval += 1
            parts = divisions[interval]
            if parts > 1 and size > 512 * parts:
                step = power // parts
                return -(-size // step) * step
        return max(512, -(-size // 512) * 512)

    def _free(self, stream, is_small):
        page = PAGE[is_small] if self.config.expandable_segments else None
        found = []
        for segment in self.segments:
            if (segment.stream, segment.is_small) == (stream, is_small):
                runs = segment.runs(page)
                for run, after in zip(runs, [*runs[1:], (0, 0, "end")], strict=True):
                    if run[2] == "free":
                        growth = after[1] if after[2] == "unmapped" else 0
                        found.append((run[1], run[0], run[1] + growth, segment))
        return sorted(found, key=lambda item: item[:2])

    def _best_fit(self, want, stream, is_small):
        fits = [item for item in self._free(stream, is_small) if item[0] >= want]
        if not fits:
            return None
        best = fits[0]
        if best[2] > best[0]:
            for other in fits[1:]:
                if other[2] >= best[2]:
                    break
                best = other
        size, start, _, segment = best
        limit = self.config.max_split_size_bytes
        if limit and want < limit and size >= limit:
            return None
        if limit and want >= limit and size >= want + self.config.max_non_split_rounding_bytes:
            return None
        return segment, start, size

    def _obtain(self, want, stream, is_small):
        if self.config.garbage_collection_threshold and self.allowed and not self.config.expandable_segments:
            self._collect()
        found = self._new(want, stream, is_small)
        if found is None and self.config.max_split_size_bytes and not self.config.expandable_segments:
            found = self._release_some(want, stream, is_small) and self._new(want, stream, is_small)
        if not found:
            self.empty_cache()
            self.retries += 1
            found = self._new(want, stream, is_small)
        if not found:
            raise SlowOutOfMemoryError
        return found

    def _new(self, want, stream, is_small):
        size = 2 * MIB if is_small else 20 * MIB if want < 10 * MIB else -(-want // (2 * MIB)) * 2 * MIB
        if self.allowed is not None and self.reserved + size > self.allowed:
            return None
        if self.config.expandable_segments:
            return self._grow(want, stream, is_small)
        if self.reserved + size > self.capacity:
            return None
        self.segments.append(Segment(self.places(size), size, stream, is_small))
        return self.segments[-1], self.segments[-1].start, size

    def _grow(self, want, stream, is_small):
        page = PAGE[is_small]
        mine = [s for s in self.segments if (s.stream, s.is_small) == (stream, is_small)]
        for segment in sorted(mine, key=lambda s: s.start):
            chain = self._room(segment.runs(page), want)
            if chain:
                return self._map(segment, chain, want, page)
        space = -(-(self.capacity + self.capacity // 8) // page) * page
        self.segments.append(Segment(self.places(space), space, stream, is_small))
        return self._map(self.segments[-1], self.segments[-1].runs(page), want, page)

    def _room(self, runs, want):
        """Return the first runs that are not in use, with an unmapped one, and hold `want` together."""
        for index, run in enumerate(runs):
            if run[2] != "unmapped":
                continue
            first = index - 1 if index and runs[index - 1][2] == "free" else index
            room, chain = 0, []
            for part in runs[first:]:
                if part[2] == "used" or room >= want:
                    break
                room += part[1]
                chain.append(part)
            if room >= want:
                return chain
        return []

    def _map(self, segment, chain, want, page):
        start, have = chain[0][0], 0
        for position, size, kind in chain:
            if kind == "free":
                have += size
                continue
            pages = -(-min(size, want - have) // page)
            if self.reserved + pages * page > self.capacity:
                return None
            first = (position - segment.start) // page
            segment.mapped |= set(range(first, first + pages))
            have += pages * page
        room = next(run[1] for run in segment.runs(page) if run[0] == start)
        return segment, start, room

    def _unmap(self, is_small):
        page = PAGE[is_small]
        mapped = [s for s in self.segments if s.is_small == is_small and s.mapped]
        for segment in mapped:  # a range that never had memory stays
            for start, size, kind in segment.runs(page):
                if kind == "free":
                    first = -(-(start - segment.start) // page)
                    segment.mapped -= set(range(first, (start + size - segment.start) // page))
            if not segment.mapped:
                self.segments.remove(segment)

    def _release_some(self, want, stream, is_small):
        limit = self.config.max_split_size_bytes
        free = [item for item in self._free(stream, is_small) if item[0] >= limit]
        enough = [item for item in free if item[0] >= want]
        if enough:
            self.segments.remove(enough[0][3])
            return True
        released = 0
        while free and released < max(want, limit):
            size, _, _, segment = free.pop()
            released += size
            self.segments.remove(segment)
        return released >= max(want, limit)

    def _collect(self):
        target = self.reserved - int(self.config.garbage_collection_threshold * self.allowed)
        while target > 0:
            ages = [(self.searches - s.born, s) for s in self.segments if not s.used and not s.is_small]
            if not ages:
                return
            average = sum(age for age, _ in ages) / len(ages)
            for age, segment in ages:
                if age >= average:
                    target -= segment.size
                    self.segments.remove(segment)
