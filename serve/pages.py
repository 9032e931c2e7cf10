"""The pages, each a file of its own that loads nothing from other hosts."""

from pathlib import Path

from fastapi.responses import FileResponse

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


def page(name: str) -> FileResponse:
    """The page of a file beside this one."""
    return FileResponse(Path(__file__).with_name(name), headers={"Content-Security-Policy": _POLICY})
