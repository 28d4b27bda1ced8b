"""Pushes in Prometheus's text format, at the path that clients of a Pushgateway use.

To them `…/api/push` is the Pushgateway: they add `/metrics/job/<job>`, and a label and its value for each
pair of parts that follows. What is pushed is stored like a scrape, as `prom.<job>.<metric>`.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import cache

from gevent.lock import BoundedSemaphore

from oculus.clock import now
from oculus.collectors.exposition import ExpositionError, ExpositionReader, Reading, TooManySeries, told
from oculus.errors import Busy
from oculus.model import Sample, slug
from oculus.threads import NativeThreads
from oculus.web import api, inputs
from oculus.web.problems import Problem, bad_request
from oculus.web.services import Services

# Bodies that wait to be read, the one that is being read included: they are megabytes.
_TURNS = BoundedSemaphore(4)

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_BASE64 = "@base64"


def push(services: Services, group: str) -> str:
    """POST and PUT /api/push/metrics/job/<job>{/<label>/<value>}: series of a job, all or none of them."""
    labels = _labels(group)
    job = labels.pop("job")
    data = inputs.body()
    reader = ExpositionReader(
        f"prom.{slug(job)}", most=inputs.MAX_PUSH, labels=labels, tags={"source": "push", "job": job}
    )
    reading = _read(reader, data, inputs.content_type())
    if reading.faults:
        raise bad_request(told(reading.faults))
    present = now()
    return api.queued(
        services,
        [
            Sample(sample.symbol, sample.value, present if sample.ts is None else sample.ts, sample.tags)
            for sample in reading.samples
        ],
    )


def _read(reader: ExpositionReader, data: bytes, content_type: str) -> Reading:
    if not _TURNS.acquire(blocking=False):
        raise Busy("other pushes are being read; try again in a moment")
    try:
        return _threads().run(reader.read, data, content_type)
    except TooManySeries as error:
        raise Problem(413, "too_large", f"the body cannot be taken: {error}") from None
    except ExpositionError as error:
        raise bad_request(f"the body cannot be read: {error}") from None
    finally:
        _TURNS.release()


@cache
def _threads() -> NativeThreads:
    return NativeThreads(1)  # so that two bodies do not take turns at the interpreter with the hub


def _labels(group: str) -> dict[str, str]:
    """Return the labels that a path names, `job` among them; raises Problem."""
    parts = group.split("/")
    if parts[-1] == "":
        parts.pop()
    names, values = parts[::2], parts[1::2]
    if len(names) != len(values) or not names or names[0].removesuffix(_BASE64) != "job":
        raise bad_request("the path is not /api/push/metrics/job/<job>, and then pairs of <label>/<value>")
    found: dict[str, str] = {}
    for name, given in zip(names, values, strict=True):
        label = name.removesuffix(_BASE64)
        if not _LABEL.fullmatch(label) or label.startswith("__"):
            raise bad_request(f"{label[:100]!r} in the path is not the name of a label")
        if label in found:
            raise bad_request(f"the label {label} comes twice in the path")
        found[label] = _decoded(given) if name != label else given
    if slug(found["job"]) == "_":
        raise bad_request(f"the job {found['job'][:100]!r} has no letter or digit (a name such as backup)")
    return found


def _decoded(text: str) -> str:
    """Return a value that came as base64, as those do that hold a slash or nothing; raises Problem."""
    bare = text.rstrip("=")
    try:
        if re.fullmatch(r"[A-Za-z0-9_-]*", bare):
            return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise bad_request(f"{text[:100]!r} in the path is not base64 for URLs of a text")
