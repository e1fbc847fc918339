"""A small HTTP server that speaks enough of the GCS JSON API for Google's client and TensorStore.

It keeps everything in memory, judges preconditions, pages listings and publishes a resumable
upload only when it is complete, as the real service does. What it does not know it refuses with a
4xx: a 5xx would make clients try again for minutes. Faults are injected with `fail`.

    with GcsServer() as server:
        server.make_bucket("b")
        os.environ["STORAGE_EMULATOR_HOST"] = server.url
"""

import base64
import contextlib
import email.parser
import email.policy
import gzip
import hashlib
import itertools
import json
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit
from uuid import uuid4

import google_crc32c

from tests.support import gcs_buckets
from tests.support.network import Network, Way

PAGE = 1000  # most items of one listing page, as on GCS
CHUNK_MULTIPLE = 256 << 10  # all but the last chunk of an upload
MOST_SOURCES = 32  # of one compose
SLOW_S = 1.0  # before an answer that is late

_LIST_PARAMETERS = {
    *("prefix", "delimiter", "maxResults", "pageToken", "startOffset", "endOffset"),
    *("fields", "projection", "versions", "alt", "prettyPrint", "includeTrailingDelimiter"),
    *("userProject", "key"),
}
_PRECONDITIONS = {
    "ifGenerationMatch": ("generation", True),
    "ifGenerationNotMatch": ("generation", False),
    "ifMetagenerationMatch": ("metageneration", True),
    "ifMetagenerationNotMatch": ("metageneration", False),
}
_WRITABLE = ("contentType", "cacheControl", "contentEncoding", "metadata")


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """An answer other than success."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {key.replace("_", "-"): value for key, value in headers.items()}


@dataclass
class StoredObject:
    """One generation of an object."""

    name: str
    data: bytes
    generation: int
    properties: dict[str, Any] = field(default_factory=dict)
    metageneration: int = 1
    component_count: int | None = None
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    _sums: dict[str, tuple[bytes, str]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def crc32c(self) -> str:
        """Base64 of the big-endian checksum."""
        return self._sum("crc32c", lambda data: google_crc32c.value(data).to_bytes(4, "big"))

    @property
    def md5(self) -> str | None:
        """Base64; composed objects have none, as on GCS."""
        if self.component_count is not None:
            return None
        return self._sum("md5", lambda data: hashlib.md5(data, usedforsecurity=False).digest())

    def _sum(self, kind: str, value: Callable[[bytes], bytes]) -> str:
        """A checksum in base64, worked out once for the bytes that are held now."""
        known = self._sums.get(kind)
        if known is None or known[0] is not self.data:
            known = self._sums[kind] = self.data, base64.b64encode(value(self.data)).decode()
        return known[1]

    def hashes(self) -> str:
        """The header `x-goog-hash`."""
        return f"crc32c={self.crc32c}" + (f",md5={self.md5}" if self.md5 else "")


@dataclass
class Upload:
    """A resumable upload under way: invisible until it is complete."""

    bucket: str
    name: str
    properties: dict[str, Any]
    query: dict[str, str]
    data: bytearray = field(default_factory=bytearray)
    finished: StoredObject | None = None


@dataclass
class Fault:
    """A fault to inject: which one, how often, into which requests."""

    method: str
    pattern: re.Pattern[str]
    left: int
    after: int  # requests that pass before it
    how: int | str  # see `GcsServer.fail`


@dataclass(frozen=True)
class Request:
    """A parsed request; `path` keeps its percent-encoding, since names may hold slashes."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    repeated: Mapping[str, list[str]] = field(default_factory=dict)  # the query, as it came

    def header(self, name: str) -> str | None:
        """A header, whatever the case of its name."""
        return next((v for k, v in self.headers.items() if k.lower() == name.lower()), None)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        try:
            found = json.loads(self.body or b"{}")
        except ValueError as error:
            raise Refusal(400, f"body is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise Refusal(400, "body is not a JSON object")
        return found


@dataclass(frozen=True)
class Answer:
    """Status, body and headers."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, document: object, status: int = 200, **headers: str) -> Self:
        """A JSON document."""
        body = json.dumps(document).encode()
        return cls(status, body, {"Content-Type": "application/json; charset=UTF-8", **headers})


class Buckets:
    """The state and what may be done to it; one lock makes each request atomic."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, StoredObject]] = {}
        self.bucket_properties: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        self.policy_versions = itertools.count(1)
        self.denied: dict[str, set[str]] = {}  # rights that the caller lacks; "" is the project
        self.others_buckets: set[str] = set()  # exist, and are somebody else's
        self.uploads: dict[str, Upload] = {}
        self.omits_empty_size = False  # as other servers do
        self.lock = threading.RLock()
        self._generations = itertools.count(1_700_000_000_000_001)

    def objects(self, bucket: str) -> dict[str, StoredObject]:
        """The bucket's live objects."""
        try:
            return self.buckets[bucket]
        except KeyError:
            raise Refusal(404, "The specified bucket does not exist.") from None

    def get(self, bucket: str, name: str, query: Mapping[str, str]) -> StoredObject:
        """A live object that meets the preconditions in `query`."""
        found = self.objects(bucket).get(name)
        wanted = query.get("generation")
        if not found or (wanted and int(wanted) != found.generation):
            raise Refusal(404, f"No such object: {bucket}/{name}")
        check_preconditions(found, query)
        return found

    def put(
        self,
        bucket: str,
        name: str,
        data: bytes,
        properties: Mapping[str, Any],
        query: Mapping[str, str],
        *,
        component_count: int | None = None,
    ) -> StoredObject:
        """A new generation, if the present one meets the preconditions in `query`."""
        if not name:
            raise Refusal(400, "Required parameter: name")
        if "metadata" in properties and properties["metadata"] is None:
            raise Refusal(400, "metadata: null, over which other servers stumble")
        objects = self.objects(bucket)
        check_preconditions(objects.get(name), query)
        stored = StoredObject(name, data, next(self._generations), component_count=component_count)
        stored.properties = {key: properties[key] for key in _WRITABLE if properties.get(key)}
        if properties.get("crc32c", stored.crc32c) != stored.crc32c:
            raise Refusal(400, "Provided CRC32C does not match calculated CRC32C.")
        objects[name] = stored
        return stored


def check_preconditions(found: StoredObject | None, query: Mapping[str, str]) -> None:
    """Refuse with 412 (or 304 for a "not match" on reading) what does not hold; 0 = absent."""
    for parameter, (attribute, must_match) in _PRECONDITIONS.items():
        if parameter in query:
            present = getattr(found, attribute) if found else 0
            if (present == int(query[parameter])) != must_match:
                status = 412 if must_match else 304
                raise Refusal(status, "At least one of the pre-conditions did not hold.")


class Service:
    """Routes requests to what answers them."""

    def __init__(self, buckets: Buckets, url: str) -> None:
        self.state = buckets
        self.url = url
        bucket, name = r"/b/(?P<bucket>[^/]+)", r"/o/(?P<name>[^/]+)"
        to = r"/b/(?P<to_bucket>[^/]+)/o/(?P<to_name>[^/]+)"
        api = r"/storage/v1"
        self.routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("POST", r"/batch/storage/v1", self.batch),
            ("GET", rf"{api}/b", self.list_buckets),
            ("POST", rf"{api}/b", self.create_bucket),
            ("GET", rf"{api}{bucket}", self.get_bucket),
            ("PATCH", rf"{api}{bucket}", self.patch_bucket),
            ("DELETE", rf"{api}{bucket}", self.delete_bucket),
            ("GET", rf"{api}{bucket}/iam", self.get_policy),
            ("PUT", rf"{api}{bucket}/iam", self.set_policy),
            ("GET", rf"{api}{bucket}/iam/testPermissions", self.test_permissions),
            ("GET", rf"{api}{bucket}/o", self.list_objects),
            ("GET", rf"(?:/download)?{api}{bucket}{name}", self.get_object),
            ("PATCH", rf"{api}{bucket}{name}", self.patch_object),
            ("DELETE", rf"{api}{bucket}{name}", self.delete_object),
            ("POST", rf"{api}{bucket}{name}/compose", self.compose),
            ("POST", rf"{api}{bucket}{name}/(?P<how>copyTo|rewriteTo){to}", self.copy),
            ("POST", rf"/(?:resumable/)?upload{api}{bucket}/o", self.upload),
            ("PUT", rf"/(?:resumable/)?upload{api}{bucket}/o", self.upload_chunk),
            ("DELETE", rf"/(?:resumable/)?upload{api}{bucket}/o", self.cancel_upload),
        ]

    def answer(self, request: Request) -> Answer:
        """The answer to one request; whatever goes wrong here is a 4xx."""
        try:
            with self.state.lock:
                return self._route(request)
        except Refusal as refusal:
            return refused(refusal.status, str(refusal), refusal.headers)
        except Exception:  # noqa: BLE001 - our own bug must not look like a passing fault
            return refused(418, f"bug in the test server: {traceback.format_exc()}")

    def _route(self, request: Request) -> Answer:
        for method, pattern, handler in self.routes:
            found = re.fullmatch(pattern, request.path)
            if found and method == request.method:
                self._check_payer(request, found.groupdict().get("bucket"))
                return handler(request, **{k: unquote(v) for k, v in found.groupdict().items()})
        raise Refusal(405, f"not served here: {request.method} {request.path}")

    def _check_payer(self, request: Request, bucket: str | None) -> None:
        """Refuse requests that nobody pays for, in a bucket whose requesters pay."""
        billing = self.state.bucket_properties.get(bucket or "", {}).get("billing", {})
        payer = request.query.get("userProject") or request.header("X-Goog-User-Project")
        if billing.get("requesterPays") and not payer:
            raise Refusal(400, "Bucket is a requester pays bucket but no user project provided.")

    # -- buckets

    def list_buckets(self, request: Request) -> Answer:
        """All buckets."""
        prefix = request.query.get("prefix", "")
        names = [name for name in sorted(self.state.buckets) if name.startswith(prefix)]
        return Answer.of_json(
            {"kind": "storage#buckets", "items": [self._bucket(n) for n in names]}
        )

    def create_bucket(self, request: Request) -> Answer:
        """A new bucket."""
        document = request.json()
        name = document.get("name")
        if not name:
            raise Refusal(400, "Required parameter: name")
        if not request.query.get("project"):
            raise Refusal(400, "Required parameter: project")
        self._check_right("", "storage.buckets.create")
        if name in self.state.buckets or name in self.state.others_buckets:
            raise Refusal(409, "You already own this bucket. Please select another name.")
        if wrong := list(gcs_buckets.problems(name, document)):
            raise Refusal(400, "; ".join(wrong))
        self.state.buckets[name] = {}
        self.state.bucket_properties[name] = gcs_buckets.settled(document)
        return Answer.of_json(self._bucket(name))

    def get_bucket(self, request: Request, bucket: str) -> Answer:
        """What is known of a bucket."""
        self._known_bucket(bucket, "storage.buckets.get")
        return Answer.of_json(masked(self._bucket(bucket), request.query.get("fields")))

    def patch_bucket(self, request: Request, bucket: str) -> Answer:
        """Change a bucket's properties; null removes one."""
        self._known_bucket(bucket, "storage.buckets.update")
        before, changes = self._bucket(bucket), request.json()
        wanted = request.query.get("ifMetagenerationMatch")
        if wanted is not None and wanted != before["metageneration"]:
            raise Refusal(412, "At least one of the pre-conditions did not hold.")
        wrong = [
            *gcs_buckets.problems(bucket, changes),
            *gcs_buckets.change_problems(changes, before),
        ]
        if wrong:
            raise Refusal(400, "; ".join(wrong))
        after = self.state.bucket_properties.setdefault(bucket, {})
        patch(after, changes)
        moment = gcs_buckets.now()
        if "softDeletePolicy" in changes:
            seconds = changes["softDeletePolicy"]["retentionDurationSeconds"]
            after["softDeletePolicy"] = gcs_buckets.soft_delete(seconds, moment)
        after |= {"metageneration": str(int(before["metageneration"]) + 1), "updated": moment}
        return Answer.of_json(self._bucket(bucket))

    def get_policy(self, _request: Request, bucket: str) -> Answer:
        """Who may do what with a bucket."""
        self._known_bucket(bucket, "storage.buckets.getIamPolicy")
        return Answer.of_json(self._policy(bucket))

    def set_policy(self, request: Request, bucket: str) -> Answer:
        """Replace a bucket's policy, if it is still the one that was read."""
        self._known_bucket(bucket, "storage.buckets.setIamPolicy")
        policy, before = request.json(), self._policy(bucket)
        if policy.get("etag") not in {None, before["etag"]}:
            raise Refusal(412, "At least one of the pre-conditions did not hold.")
        etag = base64.b64encode(f"CA{next(self.state.policy_versions)}".encode()).decode()
        self.state.policies[bucket] = {**before, **policy, "etag": etag}
        return Answer.of_json(self._policy(bucket))

    def test_permissions(self, request: Request, bucket: str) -> Answer:
        """Which of some rights the caller has."""
        self.state.objects(bucket)
        asked = request.repeated.get("permissions", [])
        if not asked or any(not name.startswith("storage.") for name in asked):
            raise Refusal(400, f"permissions {asked} cannot be tested")
        denied = self.state.denied.get(bucket, set())
        held = [name for name in asked if name not in denied]
        kind = {"kind": "storage#testIamPermissionsResponse"}
        return Answer.of_json({**kind, "permissions": held} if held else kind)

    def _policy(self, bucket: str) -> dict[str, Any]:
        empty = {"kind": "storage#policy", "version": 1, "etag": "CAE=", "bindings": []}
        return self.state.policies.get(bucket, empty)

    def _known_bucket(self, bucket: str, permission: str) -> None:
        if bucket in self.state.others_buckets:
            raise Refusal(403, f"The caller does not have {permission} access to the bucket.")
        self.state.objects(bucket)
        self._check_right(bucket, permission)

    def _check_right(self, bucket: str, permission: str) -> None:
        if permission in self.state.denied.get(bucket, set()):
            raise Refusal(403, f"The caller does not have {permission} access to the bucket.")

    def delete_bucket(self, _request: Request, bucket: str) -> Answer:
        """Remove a bucket that is empty."""
        if self.state.objects(bucket):
            raise Refusal(409, "The bucket you tried to delete is not empty.")
        del self.state.buckets[bucket]
        return Answer(204)

    def _bucket(self, name: str) -> dict[str, Any]:
        given = gcs_buckets.settled({}) | self.state.bucket_properties.get(name, {})
        return {
            **given,
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "locationType": gcs_buckets.location_type(given["location"]),
            "etag": given["metageneration"],
        }

    # -- objects

    def list_objects(self, request: Request, bucket: str) -> Answer:
        """One page of names in order, and the prefixes up to a delimiter."""
        query = request.query
        unknown = set(query) - _LIST_PARAMETERS
        if unknown:
            raise Refusal(400, f"listing parameters not served here: {sorted(unknown)}")
        objects = self.state.objects(bucket)
        after = _token(query)
        entries = [entry for entry in listing(objects, query) if entry > after]
        limit = min(int(query.get("maxResults") or PAGE), PAGE)
        page, rest = entries[:limit], entries[limit:]
        document: dict[str, Any] = {"kind": "storage#objects"}
        prefixes = [name for name in page if _is_prefix(name, query)]
        items = [self._object(bucket, objects[n]) for n in page if not _is_prefix(n, query)]
        document |= {"items": items} if items else {}
        document |= {"prefixes": prefixes} if prefixes else {}
        if rest:
            document["nextPageToken"] = base64.urlsafe_b64encode(page[-1].encode()).decode()
        return Answer.of_json(masked(document, query.get("fields")))

    def get_object(self, request: Request, bucket: str, name: str) -> Answer:
        """An object's properties, or with alt=media its bytes."""
        found = self.state.get(bucket, name, request.query)
        if request.query.get("alt") == "media" or request.path.startswith("/download"):
            return media(found, request.header("Range"), request.header("Accept-Encoding"))
        return Answer.of_json(masked(self._object(bucket, found), request.query.get("fields")))

    def patch_object(self, request: Request, bucket: str, name: str) -> Answer:
        """Change an object's properties."""
        found = self.state.get(bucket, name, request.query)
        patch(found.properties, {k: v for k, v in request.json().items() if k in _WRITABLE})
        found.metageneration += 1
        found.updated = datetime.now(UTC)
        return Answer.of_json(self._object(bucket, found))

    def delete_object(self, request: Request, bucket: str, name: str) -> Answer:
        """Remove an object."""
        self.state.get(bucket, name, request.query)
        del self.state.objects(bucket)[name]
        return Answer(204)

    def compose(self, request: Request, bucket: str, name: str) -> Answer:
        """Join objects under one name, at once."""
        document = request.json()
        sources = document.get("sourceObjects", [])
        if not 1 <= len(sources) <= MOST_SOURCES:
            raise Refusal(400, f"The number of source components must be 1 to {MOST_SOURCES}.")
        parts = [self.state.get(bucket, source["name"], source_query(source)) for source in sources]
        stored = self.state.put(
            bucket,
            name,
            b"".join(part.data for part in parts),
            document.get("destination", {}),
            request.query,
            component_count=sum(part.component_count or 1 for part in parts),
        )
        if document.get("deleteSourceObjects"):
            for source in sources:
                self.state.objects(bucket).pop(source["name"], None)
        return Answer.of_json(self._object(bucket, stored))

    def copy(self, request: Request, *, how: str, **names: str) -> Answer:
        """A copy in one go, under either of its two names."""
        wanted = {"generation": request.query.get("sourceGeneration", "")}
        found = self.state.get(names["bucket"], names["name"], wanted)
        properties = {**found.properties, **request.json()}
        to_bucket, to_name = names["to_bucket"], names["to_name"]
        stored = self.state.put(to_bucket, to_name, found.data, properties, request.query)
        resource = self._object(to_bucket, stored)
        if how == "copyTo":
            return Answer.of_json(resource)
        size = str(len(found.data))
        rewritten = {"totalBytesRewritten": size, "objectSize": size, "done": True}
        return Answer.of_json(
            {"kind": "storage#rewriteResponse", **rewritten, "resource": resource}
        )

    def _object(self, bucket: str, stored: StoredObject) -> dict[str, Any]:
        path = f"{self.url}/storage/v1/b/{bucket}/o/{quote(stored.name, safe='')}"
        document = {
            "kind": "storage#object",
            "id": f"{bucket}/{stored.name}/{stored.generation}",
            "selfLink": path,
            "mediaLink": f"{path.replace('/storage', '/download/storage')}?alt=media",
            "bucket": bucket,
            "name": stored.name,
            "size": str(len(stored.data)),
            "generation": str(stored.generation),
            "metageneration": str(stored.metageneration),
            "crc32c": stored.crc32c,
            "etag": f"{stored.generation}.{stored.metageneration}",
            "storageClass": "STANDARD",
            "timeCreated": _time(stored.updated),
            "updated": _time(stored.updated),
            "contentType": "application/octet-stream",
            **stored.properties,
        }
        if self.state.omits_empty_size and not stored.data:
            del document["size"]
        if stored.md5:
            document["md5Hash"] = stored.md5
        else:
            document["componentCount"] = stored.component_count
        return document

    # -- uploads

    def upload(self, request: Request, bucket: str) -> Answer:
        """An upload in one request, or the start of a resumable one."""
        how = request.query.get("uploadType")
        if how == "media":
            properties: dict[str, Any] = {"contentType": request.header("Content-Type")}
            data = request.body
        elif how == "multipart":
            properties, data = multipart(request)
        elif how == "resumable":
            return self._start_upload(request, bucket)
        else:
            raise Refusal(400, f"uploadType={how} is not served here")
        name = request.query.get("name") or properties.get("name", "")
        stored = self.state.put(bucket, name, data, properties, request.query)
        return Answer.of_json(self._object(bucket, stored))

    def _start_upload(self, request: Request, bucket: str) -> Answer:
        properties = request.json()
        properties.setdefault("contentType", request.header("X-Upload-Content-Type"))
        name = request.query.get("name") or properties.get("name", "")
        check_preconditions(self.state.objects(bucket).get(name), request.query)
        key = uuid4().hex
        self.state.uploads[key] = Upload(bucket, name, properties, dict(request.query))
        payer = request.query.get("userProject")
        query = f"uploadType=resumable&upload_id={key}" + (f"&userProject={payer}" if payer else "")
        return Answer(200, headers={"Location": f"{self.url}{request.path}?{query}"})

    def upload_chunk(self, request: Request, bucket: str) -> Answer:
        """The next bytes of a resumable upload, or a question how far it is."""
        upload = self._upload(request, bucket)
        if upload.finished:
            return Answer.of_json(self._object(bucket, upload.finished))
        total = receive(upload, request)
        if total is None or total != len(upload.data):
            return Answer(308, headers=_received(upload))
        announced = re.search(r"crc32c=([^,]+)", request.header("X-Goog-Hash") or "")
        if announced:
            upload.properties["crc32c"] = announced[1]
        upload.finished = self.state.put(
            bucket, upload.name, bytes(upload.data), upload.properties, upload.query
        )
        return Answer.of_json(self._object(bucket, upload.finished))

    def cancel_upload(self, request: Request, bucket: str) -> Answer:
        """Forget a resumable upload."""
        self._upload(request, bucket)
        del self.state.uploads[request.query["upload_id"]]
        return Answer(499)

    def _upload(self, request: Request, bucket: str) -> Upload:
        upload = self.state.uploads.get(request.query.get("upload_id", ""))
        if not upload or upload.bucket != bucket:
            raise Refusal(404, "no such upload")
        return upload

    # -- many at once

    def batch(self, request: Request) -> Answer:
        """Several requests in one, answered one after the other."""
        boundary = uuid4().hex
        pieces = []
        for part in mime_parts(request):
            answer = self.answer(_inner_request(part.get_payload(decode=True)))
            head = "".join(f"{key}: {value}\r\n" for key, value in answer.headers.items())
            status = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
            pieces.append(
                f"--{boundary}\r\nContent-Type: application/http\r\n"
                f"Content-ID: <response-{part['Content-ID']}>\r\n\r\n"
                f"{status}{head}Content-Length: {len(answer.body)}\r\n\r\n".encode()
                + answer.body
                + b"\r\n"
            )
        body = b"".join(pieces) + f"--{boundary}--\r\n".encode()
        return Answer(200, body, {"Content-Type": f"multipart/mixed; boundary={boundary}"})


def refused(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An error as Google words it."""
    if status == HTTPStatus.NOT_MODIFIED:
        return Answer(status)
    inner = {"message": message, "domain": "global", "reason": "refused"}
    error = {"code": status, "message": message, "errors": [inner]}
    return Answer.of_json({"error": error}, status, **(headers or {}))


def damaged(answer: Answer, how: int | str) -> Answer:
    """An answer as it may arrive."""
    if how == "short":
        return Answer(answer.status, answer.body[: len(answer.body) // 2], answer.headers)
    if isinstance(how, str) and how.startswith("flip"):
        return Answer(answer.status, flipped(answer.body, how.partition(" ")[2]), answer.headers)
    return Answer(200, b"<html>Please log in to this network</html>", {"Content-Type": "text/html"})


def flipped(data: bytes, place: str = "") -> bytes:
    """The same bytes but for one bit: in the middle, or in the byte of this number."""
    at = int(place) % len(data) if place else len(data) // 2
    return data and data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def media(found: StoredObject, range_header: str | None, accepted: str | None = None) -> Answer:
    """The bytes of an object, whole or a range of them.

    One that is stored as gzip is unpacked for who does not accept that, whole, whatever the range.
    """
    if found.properties.get("contentEncoding") == "gzip" and "gzip" not in (accepted or ""):
        return Answer(200, gzip.decompress(found.data), {"X-Goog-Hash": found.hashes()})
    headers = {
        "Content-Type": found.properties.get("contentType", "application/octet-stream"),
        "X-Goog-Generation": str(found.generation),
        "X-Goog-Metageneration": str(found.metageneration),
        "X-Goog-Hash": found.hashes(),
        "X-Goog-Stored-Content-Length": str(len(found.data)),
        "X-Goog-Stored-Content-Encoding": "identity",
        "ETag": f'"{found.generation}"',
        "Last-Modified": found.updated.strftime("%a, %d %b %Y %H:%M:%S GMT"),
    }
    if "cacheControl" in found.properties:
        headers["Cache-Control"] = found.properties["cacheControl"]
    if "contentEncoding" in found.properties:
        headers["Content-Encoding"] = found.properties["contentEncoding"]
        headers["X-Goog-Stored-Content-Encoding"] = found.properties["contentEncoding"]
    bounds = byte_range(range_header, len(found.data))
    if not bounds:
        return Answer(200, found.data, headers)
    first, last = bounds
    headers["Content-Range"] = f"bytes {first}-{last}/{len(found.data)}"
    return Answer(206, found.data[first : last + 1], headers)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of `bytes=a-b`, `bytes=a-` or `bytes=-n`; None for the whole object."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not found or found[0] == "bytes=-":
        return None
    first = int(found[1]) if found[1] else max(0, size - int(found[2]))
    last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if first >= size or first > last:
        raise Refusal(416, "Requested range not satisfiable", Content_Range=f"bytes */{size}")
    return first, last


def listing(objects: Mapping[str, StoredObject], query: Mapping[str, str]) -> list[str]:
    """Names, and prefixes that stand for several, that a listing would give, in order."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    first, end = query.get("startOffset", ""), query.get("endOffset")
    found = set()
    for name in objects:
        if not name.startswith(prefix) or name < first or (end and name >= end):
            continue
        head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
        found.add(prefix + head + cut if cut else name)
    return sorted(found)


def masked(document: dict[str, Any], fields: str | None) -> dict[str, Any]:
    """What the parameter `fields` lets through: `a,b(c,d),e/f`."""
    if not fields or fields == "*":
        return document
    return {
        key: _masked_value(document[key], inner) for key, inner in _mask(fields) if key in document
    }


def _masked_value(value: Any, inner: str | None) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return [_masked_value(item, inner) for item in value]
    return masked(value, inner) if inner and isinstance(value, dict) else value


def _mask(fields: str) -> Iterator[tuple[str, str | None]]:
    for found in re.finditer(r"([\w*]+)(?:\(((?:[^()]|\([^()]*\))*)\)|/([^,]+))?", fields):
        yield found[1], found[2] or found[3]


def multipart(request: Request) -> tuple[dict[str, Any], bytes]:
    """Properties and bytes of an upload in two parts."""
    _, sep, rest = request.body.partition(b"\r\n\r\n")
    boundary = re.search(r'boundary="?([^";]+)', request.header("Content-Type") or "")
    if not boundary or not sep:
        raise Refusal(400, "multipart body without parts")
    mark = b"\r\n--" + boundary[1].encode()
    properties, _, media_part = rest.partition(mark)
    media_head, _, media_rest = media_part.partition(b"\r\n\r\n")
    data, end, _ = media_rest.rpartition(mark + b"--")
    if not end:
        raise Refusal(400, "multipart body without an end")
    document = Request("", "", {}, {}, properties).json()
    media_type = re.search(rb"(?i)content-type: *([^\r\n]+)", media_head)
    if media_type:
        document.setdefault("contentType", media_type[1].decode())
    return document, data


def receive(upload: Upload, request: Request) -> int | None:
    """Take a chunk, bytes that are there already left out; the upload's full size once known."""
    header = request.header("Content-Range")
    if header is None:  # one request with everything
        upload.data[:] = request.body
        return len(request.body)
    asked = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", header)
    if not asked:
        raise Refusal(400, f"bad Content-Range: {header}")
    total = None if asked[3] == "*" else int(asked[3])
    if asked[1] is None:
        return total
    first, last = int(asked[1]), int(asked[2])
    if last - first + 1 != len(request.body):
        raise Refusal(400, f"{header} does not fit {len(request.body)} bytes")
    if first > len(upload.data):
        raise Refusal(400, f"a gap: {len(upload.data)} bytes are here, {header} came")
    if total is None and len(request.body) % CHUNK_MULTIPLE:
        raise Refusal(400, "a chunk that is not the last must be a multiple of 256 KiB")
    upload.data += request.body[len(upload.data) - first :]
    return total


def source_query(source: Mapping[str, Any]) -> dict[str, str]:
    """The preconditions on one source of a compose, as a query would carry them."""
    query = {key: str(value) for key, value in source.get("objectPreconditions", {}).items()}
    return {
        **query,
        **({"generation": str(source["generation"])} if "generation" in source else {}),
    }


def patch(properties: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Merge changes; null removes, a map is merged in turn."""
    for key, value in changes.items():
        if value is None:
            properties.pop(key, None)
        elif isinstance(value, dict) and isinstance(properties.get(key), dict):
            patch(properties[key], value)
        else:
            properties[key] = value


def mime_parts(request: Request) -> list[Any]:
    """The parts of a multipart/mixed body."""
    head = f"Content-Type: {request.headers.get('Content-Type')}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    if not message.is_multipart():
        raise Refusal(400, "batch body without parts")
    return list(message.iter_parts())


def _inner_request(raw: bytes) -> Request:
    head, _, body = raw.partition(b"\r\n\r\n" if b"\r\n\r\n" in raw else b"\n\n")
    first, *lines = head.decode().splitlines()
    method, target, *_ = first.split()
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    return parse(method, target, headers, body)


def parse(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
    """A request from its first line's parts; an empty parameter counts as absent."""
    parts = urlsplit(target)
    repeated = parse_qs(parts.query)
    query = {key: values[-1] for key, values in repeated.items()}
    return Request(method, parts.path, query, headers, body, repeated)


def _is_prefix(name: str, query: Mapping[str, str]) -> bool:
    delimiter = query.get("delimiter", "")
    return bool(delimiter) and delimiter in name[len(query.get("prefix", "")) :]


def _token(query: Mapping[str, str]) -> str:
    try:
        return base64.b64decode(query.get("pageToken", ""), b"-_", validate=True).decode()
    except ValueError as error:
        raise Refusal(400, "bad pageToken") from error


def _received(upload: Upload) -> dict[str, str]:
    return {"Range": f"bytes=0-{len(upload.data) - 1}"} if upload.data else {}


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class _Handler(BaseHTTPRequestHandler):
    """Reads a request whole, injects ordered faults, answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: "_HttpServer"

    def setup(self) -> None:
        """A connection of its own, each way."""
        super().setup()
        self._way_in, self._way_out = Way(), Way()

    def _serve(self) -> None:
        home = self.server.home
        body = self._body()
        home.seen.append(f"{self.command} {self.path}")
        if home.network:
            home.network.wait()
        fault = home.fault_for(self.command, self.path)
        if fault == "reset":
            self._hang_up()
            return
        if isinstance(fault, int):
            self._send(refused(fault, "a fault, as ordered"))
            return
        if fault == "loop":
            self._send(Answer(302, headers={"Location": f"{home.url}{self.path}"}))
            return
        if fault == "slow":
            time.sleep(SLOW_S)
        if fault == "flip-sent":
            body = flipped(body)
        answer = home.service.answer(parse(self.command, self.path, dict(self.headers), body))
        if fault == "lost":
            self._hang_up()
        elif fault == "cut":
            self._send(answer, len(answer.body) // 2)
            self._hang_up()
        else:
            self._send(damaged(answer, fault) if fault and fault != "slow" else answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815 - the base's

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        size = int(self.headers.get("Content-Length") or 0)
        network = self.server.home.network
        if network and size:
            return b"".join(map(self.rfile.read, network.inward(size, self._way_in)))
        return self.rfile.read(size)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, answer: Answer, most: int | None = None) -> None:
        with contextlib.suppress(ConnectionError):
            self.send_response_only(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            if answer.status not in {204, 304}:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD" and answer.status not in {204, 304}:
                self._write(answer.body[:most])

    def _write(self, body: bytes) -> None:
        network = self.server.home.network
        if network is None:
            self.wfile.write(body)
            return
        view, at = memoryview(body), 0
        for size in network.outward(len(body), self._way_out):
            self.wfile.write(view[at : at + size])
            at += size

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_args: object) -> None:
        """Keep quiet: `GcsServer.seen` holds what came."""


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    home: "GcsServer"

    def handle_error(self, *_args: object) -> None:
        """Ignore clients that hang up."""


class GcsServer:
    """The running server: its address, what it holds, what it saw, and faults to order."""

    def __init__(self) -> None:
        self._http = _HttpServer(("127.0.0.1", 0), _Handler)
        self._http.home = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.state = Buckets()
        self.service = Service(self.state, self.url)
        self.seen: list[str] = []
        self.network: Network | None = None  # how far away it is; None: here
        self._faults: list[Fault] = []
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def environment(self) -> dict[str, str]:
        """What a process needs so that both clients talk to this server."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "x",
            # Else the client asks for buckets in a thread of its own and meets faults meant for us.
            "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
        }

    def make_bucket(self, name: str, **properties: object) -> str:
        """An empty bucket; its URL.

        Args:
            name: of the bucket.
            properties: by the names of the API; Google's defaults for others.
        """
        with self.state.lock:
            self.state.buckets[name] = {}
            if properties:
                self.state.bucket_properties[name] = gcs_buckets.settled(properties)
        return f"gs://{name}"

    def bucket(self, name: str) -> dict[str, Any]:
        """What is known of a bucket, behind the API's back."""
        with self.state.lock:
            return self.service._bucket(name)

    def bindings(self, bucket: str) -> dict[str, list[str]]:
        """Members by role of a bucket's policy."""
        with self.state.lock:
            found = self.state.policies.get(bucket, {}).get("bindings", [])
            return {one["role"]: one["members"] for one in found}

    def names(self, bucket: str) -> list[str]:
        """The names of all objects, temporary ones too."""
        with self.state.lock:
            return sorted(self.state.objects(bucket))

    def object(self, bucket: str, name: str) -> StoredObject:
        """One object, behind the API's back."""
        with self.state.lock:
            return self.state.get(bucket, name, {})

    def count(self, pattern: str) -> int:
        """How many requests (`METHOD /path?query`) came so far that hold the pattern."""
        return sum(bool(re.search(pattern, line)) for line in list(self.seen))

    def fail(
        self, pattern: str, times: int = 1, how: int | str = 503, method: str = "", after: int = 0
    ) -> None:
        """Let the next requests go wrong whose path and query hold `pattern`.

        Args:
            pattern: a regular expression.
            times: how many of them.
            how: a status; "reset" (hang up before the work) or "lost" (after it); "cut" (in the
                middle of the answer); "short" (half the answer, as if it were all), "flip" (one bit
                in its middle is another; "flip 17": in its byte 17) or "other" (a page of somebody
                else's); "flip-sent" (one bit of the request is another); "loop" (a redirect to
                itself); "slow" (a late answer).
            method: only these requests, else any.
            after: how many of them pass before.
        """
        with self.state.lock:
            self._faults.append(Fault(method, re.compile(pattern), times, after, how))

    def heal(self) -> None:
        """No faults from now on."""
        with self.state.lock:
            self._faults.clear()

    def fault_for(self, method: str, target: str) -> int | str | None:
        """The fault ordered for this request, used up by it."""
        with self.state.lock:
            for fault in self._faults:
                if fault.left and fault.method in {"", method} and fault.pattern.search(target):
                    if fault.after:
                        fault.after -= 1
                        continue
                    fault.left -= 1
                    return fault.how
        return None
