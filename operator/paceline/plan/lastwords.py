"""What a failed program said last: torchrun's error file, or the end of its log. Text in, facts out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

# Of one who came when the rendezvous was closed. is_failed: what torchrun 2.15 ends with (agent.run() returned None) where it
# waited for a place in a complete group, which then closed it: trained to the end, or gave up.
CLOSED = re.compile(r"RendezvousClosedError|'NoneType' object has no attribute 'is_failed'")
# Errors that say only that a peer was gone.
NOTICED = re.compile(
    CLOSED.pattern + r"|\bPeerLeft\b|gloo/transport|remote process exited or there was a network error"
    r"|ncclRemoteError|ncclSystemError|ncclInternalError"
    r"|[Ww]atchdog caught collective operation timeout|Timed out waiting \d+ms|RendezvousTimeoutError"
    r"|RendezvousConnectionError|DistNetworkError|DistStoreError|Application timeout caused pair closure|monitoredBarrier"
    r"|collective operation timeout",
)
# The agents cannot reach the store that they meet at.
STORE_UNREACHABLE = re.compile(r"RendezvousConnectionError|connection to the C10d store has failed")
# torchrun's summary: which processes failed and how, the root cause last.
_SUMMARY = re.compile(r"^Root Cause \(first observed failure\):$", re.MULTILINE)
_ENTRY = re.compile(r"^\[\d+\]:\n(.*?)(?=^\[\d+\]:$|^-{9}|^={9})", re.MULTILINE | re.DOTALL)
_RANK = re.compile(r"^\s*rank\s*:\s*(\d+)", re.MULTILINE)
_EXIT = re.compile(r"^\s*exitcode\s*:\s*(-?\d+)", re.MULTILINE)
_TRACE = re.compile(r"^  traceback : (Traceback .*)", re.MULTILINE | re.DOTALL)
_SIGNAL = re.compile(r"(Signal \d+ \(SIG\w+\)) received by PID \d+")
# Python prefixes the lines of an uncaught exception with the rank where torch is loaded.
_PREFIX = re.compile(r"^(?:\[\w+\]:\s?)?\[rank(\d+)\]:\s?", re.MULTILINE)
_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Left|Warning)\b.*$", re.MULTILINE)
_SIGTERM = 143  # torchrun's own, to those who were left
_TRACEBACK = "Traceback (most recent call last):"
# Exceptions of torchrun itself, which say only that some process failed.
_AGENTS_OWN = ("ChildFailedError", "SignalException")


@dataclass(frozen=True, slots=True)
class LastWords:
    """``exit_code``: of the first process that failed, 128 + n for signal n. ``time``: Unix seconds."""

    message: str = ""
    traceback: str = ""
    rank: int | None = None
    exit_code: int | None = None
    time: float | None = None


def read(text: str, log: str = "") -> LastWords:
    """``text``: the termination message, an error file or the last lines of the log. ``log``: more of the log, if read."""
    text = text.strip()
    found = _error_file(text)
    summary = _summary(log or text)
    if found is None:
        found = summary if summary.traceback else _log(log or text, summary.rank)
    return LastWords(
        message=found.message or summary.message,
        traceback=found.traceback,
        rank=found.rank if summary.rank is None else summary.rank,
        exit_code=summary.exit_code,
        time=found.time,
    )


def _error_file(text: str) -> LastWords | None:
    """The JSON that @record writes; of a long one the kubelet has kept only the last 4 KiB."""
    try:
        document: Any = json.loads(text)
    except ValueError:
        return _torn_error_file(text)
    if not isinstance(document, dict):
        return None
    message = document.get("message")
    if not isinstance(message, dict):
        return LastWords(message=str(message or ""))
    extra = message.get("extraInfo") or {}
    time = str(extra.get("timestamp") or "")
    return LastWords(
        message=str(message.get("message") or ""),
        traceback=str(extra.get("py_callstack") or "").strip(),
        time=float(time) if time.isdigit() else None,
    )


def _torn_error_file(text: str) -> LastWords | None:
    end = re.search(r'", "timestamp": "(\d+)"\}\}?', text)
    if end is None:
        return None
    # A cut may have gone through an escape sequence: begin with the first whole line.
    start = text.find("\\n")
    try:
        trace: str = json.loads('"' + text[start : end.start()] + '"')
    except ValueError:
        return None
    exceptions = _EXCEPTION.findall(trace)
    message = exceptions[-1] if exceptions else trace.strip().splitlines()[-1]
    return LastWords(message=message, traceback=trace.strip(), time=float(end[1]))


def _summary(text: str) -> LastWords:
    """Of the process to blame. torchrun takes for the root cause who failed first by its own clock, and may see a peer's error
    before the death that it came of: a signal or an error of another process goes before an error that only noticed."""
    if _SUMMARY.search(text) is None:
        return LastWords()
    *others, root = [_entry(entry) for entry in _ENTRY.findall(text)] or [LastWords()]
    unexplained = root.exit_code == 1 and not root.traceback
    if unexplained or NOTICED.search(root.traceback):
        return next((other for other in others if _is_cause(other)), root)
    return root


def _is_cause(of: LastWords) -> bool:
    killed = of.exit_code is not None and of.exit_code > 128 and of.exit_code != _SIGTERM
    return killed or bool(of.traceback and not NOTICED.search(of.traceback))


def _entry(text: str) -> LastWords:
    rank, code, signal, trace = _RANK.search(text), _EXIT.search(text), _SIGNAL.search(text), _TRACE.search(text)
    number = int(code[1]) if code else None
    said = f"the process of rank {rank[1]} ended with {signal[1] if signal else f'exit code {number}'}" if rank else ""
    traceback = dedent("  " + trace[1]).strip() if trace else ""
    raised = _EXCEPTION.findall(traceback)
    return LastWords(
        message=raised[-1] if raised else said,
        traceback=traceback if raised else "",
        rank=int(rank[1]) if rank else None,
        exit_code=None if number is None else (128 - number if number < 0 else number),
    )


def _log(text: str, rank: int | None) -> LastWords:
    """The last exception that a rank raised, of the rank to blame where its lines can be told apart."""
    ranks = sorted({int(n) for n in _PREFIX.findall(text)})
    if ranks:
        whose = ranks[0] if rank is None else rank  # who is to blame may have said nothing
        mine = [line[m.end() :] for line in text.splitlines() if (m := _PREFIX.match(line)) and int(m[1]) == whose]
        return _exception("\n".join(mine), whose)
    return _exception(text, rank)


def _exception(text: str, rank: int | None) -> LastWords:
    blocks = text.split(_TRACEBACK)
    for block in reversed(blocks):
        found = [line for line in _EXCEPTION.findall(block) if not any(own in line for own in _AGENTS_OWN)]
        if found:
            whole = len(blocks) > 1 and block is not blocks[0]
            upto = block[: block.find(found[0]) + len(found[0])]
            return LastWords(message=found[0].strip(), traceback=f"{_TRACEBACK}{upto}" if whole else "", rank=rank)
    return LastWords(rank=rank)
