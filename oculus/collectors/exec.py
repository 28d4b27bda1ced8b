"""`type: exec`: other people's checks, Nagios plugins first of all, and any program that prints numbers.

`exec.<name>.status` and `exec.<name>.<label>`, or `exec.<name>` for a single number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gevent.lock import BoundedSemaphore

from oculus.collectors import nagios
from oculus.collectors.base import CollectError, Collector, Context
from oculus.collectors.command import (
    check_command,
    check_env,
    cut_short,
    environment,
    first_line,
    not_run,
    redacted,
)
from oculus.collectors.exposition import ExpositionError, ExpositionReader, told
from oculus.collectors.extract import Body, JsonReader, NumberReader, Numerals, Reader, check_part
from oculus.collectors.host_parts import distinct
from oculus.collectors.process import MOST_OUTPUT, OVERTIME, Ended, Program
from oculus.config.decode import Seconds, between, setting
from oculus.config.settings import LONGEST, SHORTEST, CollectorSettings, CollectorSpec
from oculus.model import NO_TAGS, Sample, Tags, is_symbol, slug
from oculus.threads import NativeThreads

Format = Literal["nagios", "json", "prometheus", "number"]

# Programs that run at once; others wait for their turn. Most of them wait for a network, but each takes
# memory, and a small board has little.
TURNS = 16

MAX_VALUES = 100  # of one collector's `values`, for each element of a list

_UNKNOWN = 3


def _check_values(values: Mapping[str, str]) -> None:
    if len(values) > MAX_VALUES:
        raise ValueError(f"are more than {MAX_VALUES}")
    for name in values:
        check_part(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSettings(CollectorSettings):
    """Settings of `type: exec`."""

    command: tuple[str, ...] = setting(help="program and its arguments, a list", check=check_command)
    timeout: Seconds = setting(
        Seconds(10.0), help="time after which the program is ended", check=between(SHORTEST, LONGEST, "s")
    )
    format: Format | None = setting(
        None, help="what it prints; json where json_path, values or list is given, else nagios"
    )
    env: Mapping[str, str] = setting(
        factory=dict, help="variables of its environment", check=check_env, secret=True
    )
    directory: str = setting("", help="where it runs; the daemon's own folder when left out")
    json_path: str = setting("", help="where in JSON the number is")
    values: Mapping[str, str] = setting(
        factory=dict, help="several series out of JSON: name → JSONPath", check=_check_values
    )
    list_: str = setting("", key="list", help="JSONPath of a list whose elements are series")
    label: str = setting("", help="path in an element that names it")
    unit: str = setting("", help="unit to show, with json and number")

    def __post_init__(self) -> None:
        of_json = {
            "json_path": self.json_path, "values": self.values, "list": self.list_, "label": self.label
        }  # fmt: skip
        form = self.told_format
        given = [key for key, value in of_json.items() if value]
        if given and form != "json":
            raise ValueError(f"{given[0]} with format {form} makes no sense (keep one of them)")
        if self.unit and form not in ("json", "number"):
            raise ValueError(f"unit with format {form} makes no sense (the output tells units)")
        if self.json_path and self.values:
            raise ValueError("has json_path and values (keep one of them)")
        if self.label and not self.list_:
            raise ValueError("label needs a list")
        if form == "json" and not given:
            raise ValueError("format json needs json_path or values")
        self.reader()

    @property
    def told_format(self) -> Format:
        """The format, given or told by what else is."""
        return self.format or ("json" if self.json_path or self.values or self.list_ else "nagios")

    def reader(self) -> Reader | None:
        """Return what reads numbers of the output; raises ValueError for a wrong path."""
        if self.told_format == "json":
            return JsonReader(
                self.values or {"": self.json_path or "$"}, self.list_, self.label, "", Numerals()
            )
        return NumberReader(Numerals()) if self.told_format == "number" else None

    def default_name(self) -> str:
        """The name is that of the program."""
        return slug(Path(self.command[0]).name)

    def longest_wait(self) -> float:
        """Return how long it may wait for its turn, in seconds: until the next run would come."""
        return max(self.interval, self.timeout)

    def longest_run(self) -> float:
        """It waits for its turn, and then for the program."""
        return self.longest_wait() + self.timeout + OVERTIME + 1.0


class Exec(Collector):
    """Runs a program once a run, beside a bounded number of others."""

    type = "exec"
    Settings = ExecSettings

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, ExecSettings)
        settings = self._settings = spec.settings
        self._stem = f"exec.{spec.name}"
        self._turns: BoundedSemaphore = context.shared(("exec", "turns"), lambda: BoundedSemaphore(TURNS))
        self._aside: NativeThreads = context.shared(("exec", "aside"), lambda: NativeThreads(1))
        self._is_plugin = settings.told_format == "nagios"
        self._reader = settings.reader()
        # A program runs now: what it prints is of now, too.
        self._exposition = ExpositionReader(self._stem, timestamps=False, reserved=self.tags)
        self._program = Program(settings.command, environment(settings.env), settings.directory or None)

    def describe(self) -> Mapping[str, str]:
        """Every sample tells the program; its arguments may be secret."""
        assert isinstance(self.spec.settings, ExecSettings)
        tags = {"source": nagios.plain(Path(self.spec.settings.command[0]).name)}
        if self.spec.settings.unit:
            tags["unit"] = self.spec.settings.unit
        return tags

    def collect(self) -> Iterator[Sample]:
        """Run the program and yield what it says."""
        wait = self._settings.longest_wait()
        if not self._turns.acquire(timeout=wait):
            raise CollectError(f"it waited {wait:g} s for its turn: {TURNS} programs run already")
        try:
            ended = self._program.run(self._settings.timeout)
        except (OSError, CollectError) as error:
            why = str(error) if isinstance(error, CollectError) else self._not_started(error)
            if self._is_plugin:
                yield self._status(_UNKNOWN, {"error": why})
            raise CollectError(why) from None
        finally:
            self._turns.release()
        yield from self._plugin(ended) if self._is_plugin else self._numbers(ended)

    def _not_started(self, error: OSError) -> str:
        return f"{self._settings.command[0]} {not_run(error, self._settings.directory)}"

    # -- Nagios plugins ---------------------------------------------------------------------------------

    def _plugin(self, ended: Ended) -> Iterator[Sample]:
        wrong = self._wrong(ended, most=_UNKNOWN)
        text = ended.output.decode("utf-8", "replace")
        if ended.cut:  # the last number may be the beginning of a longer one
            text = text[: max(text.rfind(" "), text.rfind("\n"), 0)]
        report = nagios.parse(text)
        if "\0" in text:  # among so many bytes some look like label=value, others in each run
            report.values, report.faults = [], ["it printed binary data"]
        why = {}
        if wrong or ended.status:
            errors = first_line(ended.errors, self._settings.env) if wrong or not report.text else ""
            texts = {"output": report.text, "error": ": ".join(filter(None, (wrong, errors)))}
            why = {key: self._redacted(text) for key, text in texts.items() if text}
        yield self._status(_UNKNOWN if wrong else ended.status, why)
        if wrong:  # numbers of a program that did not come to its end may be anything
            return
        # A label `status` must not be taken for the plugin's own.
        parts = distinct(["status", *(found.label for found in report.values)])[1:]
        for found, part in zip(report.values, parts, strict=True):
            tags = {"label": found.label, "unit": found.unit, "warn": found.warn, "crit": found.crit}
            tags = {key: text for key, text in tags.items() if text and text != part}
            yield from self._sample(part, found.value, Tags(tags) if tags else NO_TAGS, report.faults)
        if ended.cut:
            report.faults.append(f"it printed more than {MOST_OUTPUT // 1024} kB")
        if ended.status < _UNKNOWN:  # else it may well have printed how it is used
            self._tell(report.faults)

    def _status(self, status: int, why: Mapping[str, str]) -> Sample:
        return Sample(f"{self._stem}.status", float(status), None, Tags(why) if why else NO_TAGS)

    # -- numbers ----------------------------------------------------------------------------------------

    def _numbers(self, ended: Ended) -> Iterator[Sample]:
        wrong = self._wrong(ended, most=0)
        if wrong:
            raise CollectError(
                self._redacted(": ".join(filter(None, (wrong, first_line(ended.errors, self._settings.env)))))
            )
        if ended.cut:
            raise CollectError(f"it printed more than {MOST_OUTPUT // 1024} kB")
        if self._reader is not None:
            yield from self._figures(self._reader, ended.output)
            return
        whole = ended.output if ended.output.endswith(b"\n") else ended.output + b"\n"
        try:
            reading = self._aside.run(self._exposition.read, whole)
        except ExpositionError as error:
            raise CollectError(self._redacted(str(error))) from None
        yield from reading.samples
        if not reading.series:
            reading.faults.append("it printed no series")
        self._tell(reading.faults)

    def _figures(self, reader: Reader, output: bytes) -> Iterator[Sample]:
        shown = nagios.plain(output.decode("utf-8", "replace")) or "(empty)"
        document = None
        if reader.wants_json:
            try:
                document = json.loads(output)
            except (ValueError, RecursionError):
                raise CollectError(self._redacted(f"it printed no JSON: {shown}")) from None
        found = reader.read(Body(output, document, shown, self._aside.run))
        faults = [f"{part}: {text}" if part else text for part, text in found.faults]
        for figure in found.figures:
            yield from self._sample(figure.part, figure.value, NO_TAGS, faults)
        self._tell(faults)

    # -- both -------------------------------------------------------------------------------------------

    def _wrong(self, ended: Ended, most: int) -> str:
        """Return what is wrong with how it ended, where its exit status may be 0 to `most`."""
        exited = f"exit status {ended.status}" if ended.status > most else ""
        return cut_short(ended, self._settings.timeout) or exited

    def _redacted(self, text: str) -> str:
        return redacted(text, self._settings.env)

    def _sample(self, part: str, value: float, tags: Tags, faults: list[str]) -> Iterator[Sample]:
        symbol = f"{self._stem}.{part}" if part else self._stem
        if is_symbol(symbol):
            yield Sample(symbol, value, None, tags)
        else:
            faults.append(f"{symbol[:60]}… is too long for a symbol (give the collector a shorter name)")

    def _tell(self, faults: list[str]) -> None:
        if faults:
            raise CollectError(self._redacted(told(faults)))
