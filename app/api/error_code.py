"""The codes of errors: one table row per code, with its statuses, sentence and cure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus


class ErrorCode(StrEnum):
    """Why a request is answered with an error; the strings are part of the interface and never change."""

    # The request as a whole.
    INVALID = "invalid"
    MALFORMED_JSON = "malformed-json"
    MALFORMED_FORM = "malformed-form"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    TOO_LARGE = "too-large"
    OVER_BUDGET = "over-budget"
    BAD_REQUEST = "bad-request"
    MOVED = "moved"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    PRECONDITION_FAILED = "precondition-failed"
    UNKNOWN_HOST_NAME = "unknown-host-name"
    TOO_MANY_REQUESTS = "too-many-requests"
    TOO_SLOW = "too-slow"
    HEADERS_TOO_LARGE = "headers-too-large"
    MALFORMED_HTTP = "malformed-http"
    UNAVAILABLE = "unavailable"
    INTERNAL_ERROR = "internal-error"
    # Who sends it.
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    CROSS_SITE = "cross-site"
    QUOTA_EXCEEDED = "quota-exceeded"
    # What it names: `unknown-` and the kind of UnknownNameError.
    UNKNOWN_VENDOR = "unknown-vendor"
    UNKNOWN_IMPLEMENTATION = "unknown-implementation"
    UNKNOWN_RELEASE = "unknown-release"
    UNKNOWN_MODEL = "unknown-model"
    UNKNOWN_VARIABLE_SET = "unknown-variable-set"
    UNKNOWN_PROFILE = "unknown-profile"
    UNKNOWN_ERRATUM = "unknown-erratum"
    UNKNOWN_HOST = "unknown-host"
    UNKNOWN_CHANGE = "unknown-change"
    UNKNOWN_MIRROR = "unknown-mirror"
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_KIND = "unknown-kind"
    UNKNOWN_SIGNATURE = "unknown-signature"
    UNKNOWN_TOKEN = "unknown-token"  # noqa: S105 (a code)
    UNKNOWN_TRUSTED_PUBLISHER = "unknown-trusted-publisher"
    UNKNOWN_HELP = "unknown-help"
    UNSIGNED = "unsigned"
    # What is published.
    ENTRY_CHANGED = "entry-changed"
    VARIABLE_REDEFINED = "variable-redefined"
    EVOLUTION_GATE = "evolution-gate"
    PUBLISHED = "published"
    WITHDRAWN = "withdrawn"
    GAP = "gap"
    ALTERED = "altered"
    MIRROR_CONFLICT = "mirror-conflict"
    MIRROR_OF_ITSELF = "mirror-of-itself"
    # The exchange of a pipeline's token: the codes of RefusalCode, and the issuer.
    UNKNOWN_ISSUER = "unknown-issuer"
    UNSUPPORTED_ALGORITHM = "unsupported-algorithm"
    INVALID_SIGNATURE = "invalid-signature"
    TOKEN_EXPIRED = "token-expired"  # noqa: S105 (a code)
    TOKEN_NOT_YET_VALID = "token-not-yet-valid"  # noqa: S105 (a code)
    WRONG_AUDIENCE = "wrong-audience"
    CLAIMS_NOT_TRUSTED = "claims-not-trusted"
    TOKEN_REPLAYED = "token-replayed"  # noqa: S105 (a code)
    ISSUER_UNAVAILABLE = "issuer-unavailable"


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One row of the table. statuses: the HTTP statuses that it can have. example: a message with this code."""

    statuses: tuple[HTTPStatus, ...]
    sentence: str
    cure: str
    example: str


def _rule(status: HTTPStatus | tuple[HTTPStatus, ...], sentence: str, cure: str, example: str) -> ErrorRule:
    return ErrorRule(status if isinstance(status, tuple) else (status,), sentence, cure, example)


_NAMES = (
    "Correct the name; names are complete: vendor.com/path, for a release with @version. The search finds parts of "
    "them."
)
_NEW_TOKEN = "Request a new OIDC token in the pipeline; each can be exchanged once."  # noqa: S105 (what to do)

ERRORS: Mapping[ErrorCode, ErrorRule] = {
    ErrorCode.INVALID: _rule(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The request has faults. The answer lists all of them, each with its place and a code of its own.",
        "Correct every fault at the place that its pointer or parameter names.",
        "The request has 2 faults.",
    ),
    ErrorCode.MALFORMED_JSON: _rule(
        HTTPStatus.BAD_REQUEST,
        "The body is not strict JSON: UTF-8, no duplicate names, no NaN, no lone surrogates.",
        "Send strict JSON. The message gives the place of the first error.",
        "the body is not valid JSON: line 1, column 2: Expecting property name enclosed in double quotes",
    ),
    ErrorCode.MALFORMED_FORM: _rule(
        HTTPStatus.BAD_REQUEST,
        "The body is not a form as browsers send it.",
        "Send the form from its page.",
        "the body is not a form: Missing boundary in multipart.",
    ),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: _rule(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The body has a media type other than JSON.",
        "Send the header Content-Type: application/json.",
        "the body must be application/json, not text/xml",
    ),
    ErrorCode.TOO_LARGE: _rule(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The body is larger than the limit.",
        "Send less at once, or ask the operator to raise REGISTRY_MAX_BODY_BYTES (for questions "
        "REGISTRY_MAX_QUESTION_BYTES).",
        "the body is larger than the limit of 33,554,432 bytes",
    ),
    ErrorCode.OVER_BUDGET: _rule(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The question takes more work, or its answer more bytes, than one request can have.",
        "Ask for less at once; the message says what. An operator can raise the limit that it names.",
        "The answer takes more than 700,000 steps of work (REGISTRY_MAX_STEPS). Ask for less.",
    ),
    ErrorCode.BAD_REQUEST: _rule(
        HTTPStatus.BAD_REQUEST,
        "The request cannot be read.",
        "Compare the request with the API documentation at /docs.",
        "There was an error parsing the body",
    ),
    ErrorCode.MOVED: _rule(
        HTTPStatus.PERMANENT_REDIRECT,
        "The address has a slash at its end, and the same address without it exists.",
        "Use the address in the header Location.",
        "The address is /vendors.",
    ),
    ErrorCode.NOT_FOUND: _rule(
        HTTPStatus.NOT_FOUND,
        "The service has nothing at this address.",
        "Compare the address with the API documentation at /docs, or search for a name.",
        "The service has nothing at this address.",
    ),
    ErrorCode.METHOD_NOT_ALLOWED: _rule(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "The address exists, but not for this method.",
        "Use a method that the header Allow names.",
        "The address exists, but not for this method.",
    ),
    ErrorCode.PRECONDITION_FAILED: _rule(
        HTTPStatus.PRECONDITION_FAILED,
        "The entry has changed since the ETag in If-Match.",
        "Read the entry again, then repeat the change.",
        "the entry has changed since the ETag in If-Match: read it again",
    ),
    ErrorCode.UNKNOWN_HOST_NAME: _rule(
        HTTPStatus.MISDIRECTED_REQUEST,
        "The Host header has a name that is not one of the service's.",
        "Use a name of the service, or ask the operator to add this one to REGISTRY_HOSTS.",
        "This service does not answer to the name in the Host header (REGISTRY_HOSTS).",
    ),
    ErrorCode.TOO_MANY_REQUESTS: _rule(
        HTTPStatus.TOO_MANY_REQUESTS,
        "The client sends more than its share of requests, questions or streams.",
        "Wait for the time in Retry-After. A token has a larger share of its own.",
        "At most 30,000 requests in a minute; the next one can be sent in 3 seconds.",
    ),
    ErrorCode.TOO_SLOW: _rule(
        HTTPStatus.REQUEST_TIMEOUT,
        "The headers or the body of the request took too long to arrive.",
        "Send the request faster.",
        "The request took too long: 20 seconds for the headers, or too few bytes of the body.",
    ),
    ErrorCode.HEADERS_TOO_LARGE: _rule(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The headers and the address together are larger than 64 KiB.",
        "Send smaller headers. Ask long questions with POST /compatibility.",
        "The headers and the address have more than 65,536 bytes.",
    ),
    ErrorCode.MALFORMED_HTTP: _rule(
        HTTPStatus.BAD_REQUEST,
        "What arrived is not a request in HTTP/1.1.",
        "Send HTTP/1.1. If the address begins with https, check that a proxy with TLS answers there.",
        "Invalid HTTP request received.",
    ),
    ErrorCode.UNAVAILABLE: _rule(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The service cannot do its work now, mostly because of its database: cause and detail say why.",
        "Try again after the time in Retry-After. If it lasts, tell the operator the cause and the request id.",
        "The database cannot be reached; try again.",
    ),
    ErrorCode.INTERNAL_ERROR: _rule(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The service has an error of its own; the request can be right.",
        "Tell the operator the request id: the server log has the details.",
        "Internal error, request id 0123abcd; see the server log.",
    ),
    ErrorCode.UNAUTHORIZED: _rule(
        HTTPStatus.UNAUTHORIZED,
        "The request needs a valid token and has none.",
        "Send a token: Authorization: Bearer <token>, for commands in REGISTRY_TOKEN, in a browser as the password. "
        "Ask "
        "an admin for one.",
        "Not signed in: set REGISTRY_TOKEN (HTTP: Authorization: Bearer <token>).",
    ),
    ErrorCode.FORBIDDEN: _rule(
        HTTPStatus.FORBIDDEN,
        "The token is valid, but does not allow this.",
        "Use a token of another role or of another vendor; the message says which.",
        "This token can publish only names of vendor-a.com.",
    ),
    ErrorCode.CROSS_SITE: _rule(
        HTTPStatus.FORBIDDEN,
        "A form was sent from a page of another site, or by a program that does not say from where.",
        "Open the page of the form in this registry, and send it from there. Programs use the API. Behind a proxy, "
        "forward the Host header unchanged.",
        "The form was not sent from a page of this registry.",
    ),
    ErrorCode.QUOTA_EXCEEDED: _rule(
        HTTPStatus.FORBIDDEN,
        "The vendor's publications would take more than the operator allows.",
        "Delete drafts, or ask an admin to publish it or to raise REGISTRY_VENDOR_MEGABYTES.",
        "The publications of vendor-a.com can take 1,024,000,000 bytes (REGISTRY_VENDOR_MEGABYTES).",
    ),
    ErrorCode.UNKNOWN_VENDOR: _rule(
        HTTPStatus.NOT_FOUND,
        "The vendor is not registered.",
        "Correct the name, or ask an admin to register the vendor: PUT /vendors/{vendor}.",
        "The vendor vendor-z.com is not registered.",
    ),
    ErrorCode.UNKNOWN_IMPLEMENTATION: _rule(
        HTTPStatus.NOT_FOUND,
        "No release of the implementation is published.",
        _NAMES,
        "the registry has no implementation vendor-a.com/fx",
    ),
    ErrorCode.UNKNOWN_RELEASE: _rule(
        HTTPStatus.NOT_FOUND,
        "The release is not published.",
        _NAMES,
        "the registry has no release vendor-a.com/fw@9",
    ),
    ErrorCode.UNKNOWN_MODEL: _rule(
        HTTPStatus.NOT_FOUND,
        "The device model is not published.",
        _NAMES,
        "the registry has no model vendor-a.com/nix",
    ),
    ErrorCode.UNKNOWN_VARIABLE_SET: _rule(
        HTTPStatus.NOT_FOUND,
        "No variable set has this digest.",
        "Take the digest from GET /releases/{release}, and keep it whole: sha256: and 64 digits.",
        "the registry has no variable set sha256:0",
    ),
    ErrorCode.UNKNOWN_PROFILE: _rule(
        HTTPStatus.NOT_FOUND,
        "The profile is not published.",
        _NAMES,
        "the registry has no profile vendor-a.com/p9",
    ),
    ErrorCode.UNKNOWN_ERRATUM: _rule(
        HTTPStatus.NOT_FOUND,
        "No erratum has this id.",
        "Take the id from GET /errata.",
        "the registry has no erratum 0123456789ab",
    ),
    ErrorCode.UNKNOWN_HOST: _rule(
        HTTPStatus.NOT_FOUND,
        "No host of this name is registered.",
        "Correct the name, or register the host: run profile-registry host report on it.",
        "the registry has no host host-17",
    ),
    ErrorCode.UNKNOWN_KIND: _rule(
        HTTPStatus.NOT_FOUND,
        "No registered host is of this kind, or not any more: its hosts state something else by now.",
        "Open the list of hosts, which shows today's kinds.",
        "the registry has no kind sha256:9b4fa967",
    ),
    ErrorCode.UNKNOWN_CHANGE: _rule(
        HTTPStatus.NOT_FOUND,
        "The feed has no change with this number.",
        "Take the number from GET /changes. After a restore from a backup, the feed can be shorter.",
        "the registry has no change 1000000",
    ),
    ErrorCode.UNKNOWN_MIRROR: _rule(
        HTTPStatus.NOT_FOUND,
        "No registry with this id is mirrored into this one.",
        "Take the id from GET /mirrors.",
        "the registry has no mirror 0123",
    ),
    ErrorCode.UNKNOWN_KEY: _rule(
        (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN),
        "404: the vendor has no such key. 403: the issuer of the OIDC token has no such key.",
        "404: take the id from GET /vendors/{vendor}/keys. 403: request a new OIDC token.",
        "The key that the token names is not among its issuer's keys.",
    ),
    ErrorCode.UNKNOWN_SIGNATURE: _rule(
        HTTPStatus.NOT_FOUND,
        "No signed publication has this digest.",
        "Take the digest from the signatures of GET /releases/{release} or GET /profiles/{name}.",
        "the registry has no signature sha256:0",
    ),
    ErrorCode.UNKNOWN_TOKEN: _rule(
        HTTPStatus.NOT_FOUND,
        "No token has this id.",
        "Take the id from GET /tokens; it is not the secret.",
        "the registry has no token 0123456789ab",
    ),
    ErrorCode.UNKNOWN_TRUSTED_PUBLISHER: _rule(
        HTTPStatus.NOT_FOUND,
        "No trusted publisher has this id.",
        "Take the id from GET /trusted-publishers.",
        "the registry has no trusted publisher 0123456789ab",
    ),
    ErrorCode.UNKNOWN_HELP: _rule(
        HTTPStatus.NOT_FOUND,
        "There is no help page of this name.",
        "Look for the code on the help page, which lists all of them.",
        "the registry has no help vlaue-not-allowed",
    ),
    ErrorCode.UNSIGNED: _rule(
        HTTPStatus.NOT_FOUND,
        "The registry does not sign its feed.",
        "Ask the operator to set REGISTRY_SIGNING_KEY_FILE.",
        "This registry does not sign its feed: it has no key (REGISTRY_SIGNING_KEY).",
    ),
    ErrorCode.ENTRY_CHANGED: _rule(
        HTTPStatus.CONFLICT,
        "The publication would change an entry that is published; the faults say where.",
        "Publish a new version or a new name: published entries never change.",
        "What is published never changes, and this would change it: see the faults. Publish a new name or version.",
    ),
    ErrorCode.VARIABLE_REDEFINED: _rule(
        HTTPStatus.CONFLICT,
        "The publication contradicts the type or the off value that the device model has for a variable.",
        "Use a new variable: the first publication of a variable fixes its type and off value for the model.",
        "What is published never changes, and this would change it: see the faults. Publish a new name or version.",
    ),
    ErrorCode.EVOLUTION_GATE: _rule(
        HTTPStatus.CONFLICT,
        "The release refuses a profile that an earlier release accepts; broken lists them.",
        'Fix the release, or ask an admin to publish it with --override "<reason>".',
        "vendor-a.com/fw@2 and earlier releases accept different profiles: 1 pair of a profile and a device model "
        "would "
        "break (profiles: 1, models: 1).",
    ),
    ErrorCode.PUBLISHED: _rule(
        HTTPStatus.CONFLICT,
        "The release or profile is no longer a draft, so it cannot be deleted.",
        "Retire it instead.",
        "vendor-a.com/fw@1 is published, and published entries are never deleted. Retire it instead.",
    ),
    ErrorCode.WITHDRAWN: _rule(
        HTTPStatus.CONFLICT,
        "The same erratum was withdrawn, and never counts again.",
        "State what is wrong in other words.",
        "This erratum was withdrawn at 2026-01-01T00:00:00.000Z. State what is wrong in other words.",
    ),
    ErrorCode.GAP: _rule(
        HTTPStatus.CONFLICT,
        "The changes of the mirrored registry do not continue where the mirror ends.",
        "Send the changes after the seq that GET /mirrors/{registry} names.",
        "change 15 does not follow change 11, the last one here; send change 12 next",
    ),
    ErrorCode.ALTERED: _rule(
        HTTPStatus.CONFLICT,
        "A change or a content of the mirrored registry does not match its digest or link.",
        "Read the changes again from the registry itself. If it stays so, its feed was altered.",
        "the content sha256:0 does not match its digest: it was altered in transit",
    ),
    ErrorCode.MIRROR_CONFLICT: _rule(
        HTTPStatus.CONFLICT,
        "A change of the mirrored registry contradicts what is published here; the faults say where.",
        "Decide which registry is right: nothing published changes. Mirror into a registry of its own.",
        "change 12 (release-published vendor-a.com/fw@1) cannot be applied here: /description: must stay the "
        "description "
        "published",
    ),
    ErrorCode.MIRROR_OF_ITSELF: _rule(
        HTTPStatus.CONFLICT,
        "The changes come from this very registry.",
        "Mirror into another registry, or restore the archive into an empty one.",
        "the changes come from this registry: it cannot mirror itself",
    ),
    ErrorCode.UNKNOWN_ISSUER: _rule(
        HTTPStatus.FORBIDDEN,
        "No trusted publisher has the issuer of the OIDC token.",
        "Ask an admin to create a trusted publisher with this issuer.",
        "No vendor has a trusted publisher with the issuer https://ci.example. An admin can create one.",
    ),
    ErrorCode.UNSUPPORTED_ALGORITHM: _rule(
        HTTPStatus.FORBIDDEN,
        "The OIDC token is signed in a way that is not accepted.",
        "Use an issuer that signs with an asymmetric algorithm; the message lists those that are allowed.",
        "The token is signed with HS256; allowed: ES256, ES384, ES512, PS256, PS384, PS512, RS256, RS384, RS512.",
    ),
    ErrorCode.INVALID_SIGNATURE: _rule(
        HTTPStatus.FORBIDDEN,
        "The issuer did not sign this OIDC token.",
        _NEW_TOKEN,
        "The signature of the token is not valid: it was altered, or another issuer signed it.",
    ),
    ErrorCode.TOKEN_EXPIRED: _rule(
        HTTPStatus.FORBIDDEN,
        "The OIDC token has expired.",
        _NEW_TOKEN,
        "The token is not trusted. It expired 90 seconds ago: request a new one.",
    ),
    ErrorCode.TOKEN_NOT_YET_VALID: _rule(
        HTTPStatus.FORBIDDEN,
        "The OIDC token is valid only later.",
        "Compare the clocks of the issuer and the registry, then request a new OIDC token.",
        "The token is not trusted. It is valid only in 90 seconds: check the clocks of the issuer and the registry.",
    ),
    ErrorCode.WRONG_AUDIENCE: _rule(
        HTTPStatus.FORBIDDEN,
        "The OIDC token is for another audience than that of the trusted publisher.",
        "Request it for the audience of the trusted publisher: --audience on GitHub, aud under id_tokens on GitLab.",
        "The token is not trusted. It is for the audience https://other.example, which no trusted publisher with its "
        "issuer has.",
    ),
    ErrorCode.CLAIMS_NOT_TRUSTED: _rule(
        HTTPStatus.FORBIDDEN,
        "The OIDC token has claims that no trusted publisher requires.",
        "Run the pipeline where it is trusted, or ask an admin for another trusted publisher.",
        "The token is not trusted. It has ref=refs/heads/feature, which no trusted publisher requires.",
    ),
    ErrorCode.TOKEN_REPLAYED: _rule(
        HTTPStatus.FORBIDDEN,
        "The OIDC token was exchanged before.",
        _NEW_TOKEN,
        "The token was exchanged before; each OIDC token can be exchanged once. Request a new one.",
    ),
    ErrorCode.ISSUER_UNAVAILABLE: _rule(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The registry cannot read the keys of the OIDC token's issuer; the message says why.",
        "Try again after the time in Retry-After.",
        "The keys of the issuer https://ci.example cannot be read: it does not answer. Try again.",
    ),
}
