"""What could not be done, by kind, with what a person may do about it."""

from avrec.report.findings import Findings, Refused
from avrec.report.html import Markup, grid, join, tag

ADVICE = {
    "not_media": "No audio or video in a form that is allowed. Look at its first bytes: it may be "
    "a web page, a playlist or an archive under a wrong name. Leave it out or fetch the real file.",
    "truncated": "The file ends early or its index is missing. Upload it again; a copy that plays "
    "elsewhere can be mended with: ffmpeg -i in -c copy out",
    "unsupported_codec": "The container is read, the codec is not. Transcode it, such as with: "
    "ffmpeg -i in -c:v libx264 -c:a aac out.mp4",
    "too_large": "It is over a limit of [media.limits]. Raise the limit if you trust the source, "
    "or cut the file.",
    "timeout": "It took longer than media.limits.timeout_seconds. A rerun tries again; raise the "
    "limit for long files on slow disks.",
    "crashed": "The decoder died on it, in a process of its own. A rerun tries again; if it comes "
    "back, keep the file away from other decoders: it may be hostile.",
    "fetch_failed": "It could not be fetched. Check address and rights; a rerun tries again.",
}
"""What to do, by the kind of a MediaError."""


def section(findings: Findings) -> Markup | None:
    """A block for each kind, the most frequent first."""
    if findings.refused is None:
        return None
    if not findings.refused:
        return tag("p", "Every file was read to its end.", class_="finding")
    return join(*(_kind(refused) for refused in findings.refused))


def _kind(refused: Refused) -> Markup:
    rows = refused.examples.select(["item_id", "stage", "message"]).to_pylist()
    cells = [list(row.values()) for row in rows]
    noun = "file" if refused.num_rows == 1 else "files"
    advice = ADVICE.get(refused.kind)
    return tag(
        "article",
        tag("h3", tag("code", refused.kind), f" in {refused.num_rows:,} {noun}"),
        None if advice is None else tag("p", advice),
        grid(["Item", "Stage", "What was said"], cells, caption=f"Examples of {refused.kind}"),
    )
