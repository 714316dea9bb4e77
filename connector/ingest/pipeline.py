"""The run itself: read → check → encode → log → store, each stage a bounded step ahead of the next."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from connector.config import IngestSettings
from connector.errors import StrictIngestError
from connector.ingest.batch import CheckedBatch, Problem
from connector.ingest.catalogue import Catalogue, open_catalogue
from connector.ingest.dead_letters import DeadLetter, clean_dead_letters, require_run_id
from connector.ingest.encode import EncodedVectors, ReadyVectors, VectorSource
from connector.ingest.identity import fingerprint, run_identity
from connector.ingest.media import MediaSource
from connector.ingest.preflight import Plan, common_key, make_plans
from connector.ingest.report import IngestReport, Progress
from connector.ingest.rows import ViewRows, view_rows
from connector.ingest.runs import open_run
from connector.ingest.stages import StageClock, WriteBehind, read_ahead
from connector.ingest.targets import ViewTarget
from connector.ingest.validate import DELETED, RowChecks
from connector.ingest.writer import FinishedBatch, ViewWriter
from connector.spaces import EVENT_TIMESTAMP
from connector.stores.base import VectorStore
from connector.stores.feast_values import store_rows
from encoders.base import Encoder
from encoders.contract import EncoderContract

# Two batches under way keep an encoder busy across the seam between them.
BATCHES_ENCODING = 2
MAX_ENCODING_THREADS = 8


def ingest_catalogue(
    source: Any,
    *,
    targets: Sequence[ViewTarget],
    encoder_for: Callable[[EncoderContract], Encoder],
    store: VectorStore,
    dead_letter_dir: Path,
    settings: IngestSettings | None = None,
    key: str | None = None,
    mapping: Mapping[str, str] | None = None,
    event_timestamp: str | None = None,
    media_root: str | Path | None = None,
    allow_remote_media: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    strict: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
    run_id: str | None = None,
    now: datetime | None = None,
) -> IngestReport:
    """Read a catalogue, encode it, and write it to the offline logs and the vector store.

    Views are independent: a row with a broken picture still gets its text vector. Rows that cannot be used go to the
    dead-letter table with a reason.

    A run writes down how far it is whenever a part is in the logs and in the store. Killed at any point and started
    again with the same catalogue file and arguments, it goes on from there, under the id and the time of its first
    start, and ends as it would have ended undisturbed. A catalogue in memory begins anew.

    Args:
        source: what `open_catalogue` takes.
        targets: views to fill; all of one entity. Those whose columns the catalogue lacks are skipped and reported.
        encoder_for: finds the encoder of a contract. It is not closed here.
        store: holds the targets' collections already.
        dead_letter_dir: folder for `<run_id>.parquet`.
        key: catalogue column of the join key; default the join key's own name.
        mapping: connector's column name → catalogue's column name.
        event_timestamp: catalogue column of event times; default `event_timestamp` where the catalogue has it,
            otherwise every row has the time of the run's start.
        media_root: further folder or URL that media paths may lie in; relative paths may start there too.
        allow_remote_media: whether media cells may be URLs outside the catalogue's folder.
        storage_options: for fsspec.
        strict: raise at the first bad row.
        restart: begin anew, whatever an earlier start has done.
        progress: told about rows done.
        run_id: names log parts and dead letters; the same id and catalogue again replaces its own parts.
        now: the run's start; the default event time, and the created time of every row.

    Raises:
        CatalogueError: the catalogue cannot be read, or lacks the key; or another process is at the same run.
        ConfigurationError, SchemaMismatchError, ContractMismatchError, StoreUnavailableError, ServerUnavailableError:
            found before anything is written where that can be known; later, what is written so far stays.
        StrictIngestError: a bad row under `strict`; nothing of its batch is written.
    """
    clock, began = StageClock(), time.perf_counter()
    settings = settings or IngestSettings()
    join_key = common_key(targets)
    columns = dict(mapping or {})
    if key is not None and key != join_key.name:
        columns[join_key.name] = key
    catalogue = open_catalogue(source, mapping=columns, storage_options=storage_options)
    catalogue.require(join_key.name, "the key", "name the key column by key=")
    if event_timestamp is not None:
        catalogue.require(event_timestamp, "event times", "check event_timestamp=")
    elif EVENT_TIMESTAMP in catalogue.columns:
        event_timestamp = EVENT_TIMESTAMP
    if run_id is not None:
        require_run_id(run_id)
    plans, views = make_plans(catalogue, targets, store, encoder_for)
    arguments = {
        "mapping": columns,
        "event_timestamp": event_timestamp,
        "media": [None if media_root is None else str(media_root), allow_remote_media],
        "strict": strict,
        "settings": settings.model_dump(),
        "given": [run_id, None if now is None else _utc(now).isoformat()],
    }
    identity = run_identity(fingerprint(catalogue.files), plans, arguments) if catalogue.files else None
    now = _utc(now)
    run_id = run_id or f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    clean_dead_letters(dead_letter_dir)
    for plan in plans:
        plan.target.log.clean()
    with ExitStack() as stack:
        run = stack.enter_context(
            open_run(
                plans,
                identity=identity,
                run_id=run_id,
                now=now,
                source=catalogue.name,
                dead_letter_dir=dead_letter_dir,
                restart=restart,
            )
        )
        state = run.state
        report = IngestReport(run_id=state.run_id, source=catalogue.name, resumed=run.resumed, views=views)
        writer = ViewWriter(plans, store, run, strict=strict, clock=clock, to_store=_store_rows)
        media = MediaSource(
            catalogue.location,
            media_root=media_root,
            allow_remote=allow_remote_media,
            max_bytes=settings.max_media_bytes,
            storage_options=storage_options,
        )
        stack.callback(media.close)
        checks = RowChecks(join_key, event_timestamp, state.started, run.deleted)
        stack.callback(checks.close)
        if progress is not None:
            progress.start(catalogue.total_rows)
            if run.resumed:
                progress.advance(run.resumed)
        behind = WriteBehind(writer.take, 2)
        stack.callback(behind.abandon)
        sources = {plan.target.name: _vector_source(plan, media, settings, clock) for plan in plans}
        judged = dict.fromkeys((join_key.name, event_timestamp) if event_timestamp is not None else (join_key.name,))
        needed = {**dict.fromkeys(column for plan in plans for column in plan.columns), **judged}
        batches = _checked(catalogue, tuple(needed), tuple(judged), settings.batch_rows, checks, clock, state.position)
        ahead = stack.enter_context(read_ahead(batches, 1))
        for checked, rows in stack.enter_context(closing(_filled(ahead, plans, sources, state.started))):
            finished = _finish(checked, rows)
            if strict and finished.letters:
                raise StrictIngestError(_first_fault(catalogue.name, finished.letters))
            behind.put(finished)
            if progress is not None:
                progress.advance(finished.rows)
            del checked, rows, finished
        behind.finish()
        writer.flush()
        path = run.finish()
        run.fill(report)
    report.dead_letter_path = None if path is None else str(path)
    report.seconds = time.perf_counter() - began
    report.stages = {name: round(seconds, 4) for name, seconds in sorted(clock.seconds.items())}
    return report


def _checked(
    catalogue: Catalogue,
    columns: Sequence[str],
    judged: Sequence[str],
    batch_rows: int,
    checks: RowChecks,
    clock: StageClock,
    done: int,
) -> Iterator[CheckedBatch]:
    """Batches from row `done` on. Those before are read for their keys and times alone, which later rows may repeat."""
    if done:
        for batch in clock.timed(catalogue.batches(judged, batch_rows, stop=done), "read again"):
            checks.check(batch)
    for batch in clock.timed(catalogue.batches(columns, batch_rows, first=done), "read"):
        with clock.measure("check"):
            checked = checks.check(batch)
        del batch
        yield checked
        del checked


def _filled(
    batches: Iterator[CheckedBatch],
    plans: Sequence[Plan],
    sources: Mapping[str, VectorSource | None],
    now: datetime,
) -> Generator[tuple[CheckedBatch, dict[str, ViewRows]], None, None]:
    """Each batch with its rows for every view, in order; several views and batches are encoded at once."""
    threads = min(MAX_ENCODING_THREADS, BATCHES_ENCODING * len(plans))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ingest-encode")
    under_way: deque[tuple[CheckedBatch, dict[str, Future[ViewRows]]]] = deque()
    try:
        for checked in batches:
            tasks = {
                plan.target.name: pool.submit(view_rows, plan.target, checked, sources[plan.target.name], now)
                for plan in plans
            }
            under_way.append((checked, tasks))
            del checked, tasks
            if len(under_way) >= BATCHES_ENCODING:
                yield _settle(*under_way.popleft())
        while under_way:
            yield _settle(*under_way.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _settle(checked: CheckedBatch, tasks: Mapping[str, Future[ViewRows]]) -> tuple[CheckedBatch, dict[str, ViewRows]]:
    return checked, {name: task.result() for name, task in tasks.items()}


def _vector_source(plan: Plan, media: MediaSource, settings: IngestSettings, clock: StageClock) -> VectorSource | None:
    space = plan.target.space
    if space is None:
        return None
    if plan.encoder is None:
        return ReadyVectors(space)
    return EncodedVectors(
        space,
        plan.encoder,
        media,
        chunk_rows=settings.batch_rows,
        max_text_bytes=settings.max_text_bytes,
        clock=clock,
        stand_ins=plan.stand_ins,
    )


def _finish(checked: CheckedBatch, views: dict[str, ViewRows]) -> FinishedBatch:
    """Turn what is wrong with the rows of a batch into dead letters."""
    batch = checked.batch
    problems = [*checked.problems, *(problem for rows in views.values() for problem in rows.problems)]
    letters = [DeadLetter(row, None, None, None, "broken row", why, None) for row, why in batch.broken.items()]
    letters += [_letter(checked, problem) for problem in problems]
    letters.sort(key=lambda letter: letter.row)
    left_out = len(batch.broken) + len(checked.problems)
    return FinishedBatch(views, letters, left_out, len(batch) + len(batch.broken), batch.end)


def _letter(checked: CheckedBatch, problem: Problem) -> DeadLetter:
    return DeadLetter(
        row=int(checked.batch.rows[problem.index]),
        key=None if problem.kind == DELETED else checked.key_text(problem.index),
        space=problem.view or None,
        column=problem.column or None,
        kind=problem.kind,
        reason=problem.reason,
        event=checked.events[problem.index].as_py(),
    )


def _first_fault(name: str, letters: Sequence[DeadLetter]) -> str:
    first = letters[0]
    where = f"row {first.row}" + (f" (key {first.key})" if first.key is not None else "")
    what = ": ".join(part for part in (first.space, first.column, first.reason) if part)
    return f"{name}: {where}: {what}; mend it, or run without strict to have bad rows set aside"


def _store_rows(table: Any, plan: Plan) -> Any:
    assert plan.collection is not None  # noqa: S101 - the writer asks only for targets with a collection
    return store_rows(table, plan.collection, {field.name: field.dtype for field in plan.target.fields})


def _utc(now: datetime | None) -> datetime:
    if now is None:
        return datetime.now(timezone.utc)
    return now.replace(tzinfo=timezone.utc) if now.tzinfo is None else now.astimezone(timezone.utc)


__all__ = ["ingest_catalogue"]
