"""Forms with files, taken apart as a service does."""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP

from tests.standins.messages import Request


def parts_of(request: Request) -> dict[str, tuple[str, bytes]]:
    """Return the parts of a request's form by name: the file's name, empty for a text, and the content."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    form = BytesParser(policy=HTTP).parsebytes(head + request.body)
    found = {}
    for part in form.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        name = part.get_param("name", header="content-disposition")
        found[str(name)] = (part.get_filename() or "", content)
    return found
