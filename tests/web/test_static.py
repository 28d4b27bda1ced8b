"""Static files over a real socket: types, compression, caching, and nothing outside of the folder."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from oculus import assets
from oculus.web.static import StaticFiles
from tests.support.site import Site

CSS = "/static/css/oculus.css"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose static files are asked for."""
    site = Site(tmp_path_factory.mktemp("files"))
    yield site
    site.close()


def names() -> list[str]:
    """Return every static file of the program."""
    folder = assets.folder("static")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_every_file_is_served_as_it_is(files: Site) -> None:
    """What is in the folder arrives byte for byte."""
    for name in names():
        answer = files.get(f"/static/{name}", headers={"Accept-Encoding": "identity"})
        assert answer.status_code == 200, name
        assert answer.content == (assets.folder("static") / name).read_bytes(), name
        assert int(answer.headers["Content-Length"]) == len(answer.content)


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("css/oculus.css", "text/css; charset=utf-8"),
        ("js/oculus.js", "text/javascript; charset=utf-8"),
        ("vendor/htmx/htmx.min.js", "text/javascript; charset=utf-8"),
        ("icons/oculus.svg", "image/svg+xml"),
        ("icons/oculus-192.png", "image/png"),
        ("manifest.webmanifest", "application/manifest+json"),
    ],
)
def test_files_have_the_type_that_nosniff_demands(files: Site, name: str, type: str) -> None:
    """A browser told not to guess needs the right type."""
    assert files.get(f"/static/{name}").headers["Content-Type"] == type


def test_text_is_compressed_for_those_who_take_it(files: Site) -> None:
    """With `Accept-Encoding: gzip` the smaller form is sent, and says so."""
    plain = files.get("/static/vendor/htmx/htmx.min.js", headers={"Accept-Encoding": "identity"})
    with files.get(
        "/static/vendor/htmx/htmx.min.js", headers={"Accept-Encoding": "gzip, deflate, br"}, stream=True
    ) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        sent = packed.raw.read(decode_content=False)
    assert "Content-Encoding" not in plain.headers
    assert len(sent) < len(plain.content) / 2
    assert int(packed.headers["Content-Length"]) == len(sent)
    assert gzip.decompress(sent) == plain.content
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("encoding", ["br", "", "identity", "gzip;q=0", "identity, gzip; q=0.0", "xgzip"])
def test_who_does_not_take_gzip_gets_none(files: Site, encoding: str) -> None:
    """Other encodings, and gzip with a weight of 0, get the file as it is."""
    assert "Content-Encoding" not in files.get(CSS, headers={"Accept-Encoding": encoding}).headers


def test_a_file_that_the_browser_has_is_not_sent_again(files: Site) -> None:
    """The ETag given back gets 304 without a body; any other gets the file."""
    first = files.get(CSS)
    tag = first.headers["ETag"]
    assert tag.startswith('"')
    assert "max-age=" in first.headers["Cache-Control"]
    again = files.get(CSS, headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert files.get(CSS, headers={"If-None-Match": '"other"'}).status_code == 200


def test_different_files_have_different_tags(tmp_path: Path, files: Site) -> None:
    """The tag comes from the content."""
    tags = {files.get(f"/static/{name}").headers["ETag"] for name in names()}
    contents = {(assets.folder("static") / name).read_bytes() for name in names()}
    assert len(tags) == len(contents)


ESCAPES = [
    "/static/../oculus/app.py",
    "/static/../../etc/passwd",
    "/static/%2e%2e/oculus/app.py",
    "/static/..%2f..%2fetc%2fpasswd",
    "/static/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/static/css/../../oculus/app.py",
    "/static/css/../css/oculus.css",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/css/oculus.css%00",
    "/static/css/oculus.css/",
    "/static/..\\oculus\\app.py",
    "/static/css",
    "/static/css/",
    "/static/",
    "/static",
    "/static/.",
    "/views/layout.html",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leads_out_of_the_folder(files: Site, path: str) -> None:
    """However a path is spelled, what is not a static file is not found."""
    answer = files.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 "), answer[:200]
    assert b"root:" not in answer
    assert b"import" not in answer


def test_a_link_or_a_file_made_later_is_not_served(tmp_path: Path) -> None:
    """Only what was in the folder at the start can be asked for."""
    (tmp_path / "old.txt").write_text("old")
    served = StaticFiles(tmp_path)
    (tmp_path / "new.txt").write_text("new")
    assert served._names == {"old.txt"}
