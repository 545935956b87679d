"""Every error this project raises on purpose, one tree, with its stable code and HTTP status.

```
HypernetError                  internal_error          500
├── InvalidRequest             invalid_request         400
│   ├── InvalidName            invalid_name            400
│   ├── UnsupportedParameter   unsupported_parameter   400
│   ├── RequestTooLarge        request_too_large       413
│   └── UnsupportedMediaType   unsupported_media_type  415
├── DocumentError              document_error          400
│   ├── EmptyDocument          empty_document          400
│   ├── DocumentEncodingError  document_not_utf8       400
│   └── DocumentTooLong        document_too_long       413
├── AuthenticationError        authentication_failed   401
├── PermissionDenied           permission_denied       403
├── NotFound                   not_found               404
│   ├── AdapterNotFound        adapter_not_found       404
│   └── VersionNotFound        version_not_found       404
├── Conflict                   conflict                409
│   └── PreconditionFailed     precondition_failed     412
├── AdapterError               adapter_error           422
│   ├── AdapterInvalid         adapter_invalid         422
│   └── AdapterMismatch        adapter_mismatch        409
├── StateError                 state_error             422
│   ├── StateInvalid           state_invalid           422
│   └── StateMismatch          state_mismatch          409
├── CheckpointError            checkpoint_error        500
│   ├── CheckpointNotFound     checkpoint_not_found    500
│   ├── CheckpointInvalid      checkpoint_invalid      500
│   └── CheckpointMismatch     checkpoint_mismatch     500
├── StoreError                 store_error             503
│   ├── StoreUnavailable       store_unavailable       503
│   ├── ObjectChanged          object_changed          503
│   └── StoreCorrupt           store_corrupt           500
├── EngineError                engine_error            500
│   ├── EngineBusy             engine_busy             429
│   ├── EngineClosed           engine_closed           503
│   ├── PromptTooLong          prompt_too_long         400
│   └── NotResident            not_resident            500
├── SettingsError              settings_error          500
│   └── PortInUse              port_in_use             500
└── InternalError              internal_error          500
```

A message says what was expected, what came and what to do. It never holds document text, a secret, a user's name or
another machine's traceback, because messages reach clients and logs. A class takes its message first and extra
attributes, which it declares, by keyword; so every instance survives pickling with nothing lost.
"""

from typing import Any, ClassVar


class HypernetError(Exception):
    """Root of the tree: catching it catches every error the project raises on purpose.

    `code` is stable across releases and meant for programs; the message is meant for people. `param` names the request
    field at fault, where there is one. An extra attribute that the class does not declare is a `TypeError`.
    """

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500

    param: str | None = None

    def __init__(self, message: str, **extra: Any) -> None:
        super().__init__(message)
        for name, value in extra.items():
            if name.startswith("_") or not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}; declare it on the class first")
            setattr(self, name, value)

    @property
    def message(self) -> str:
        """The text for people."""
        return str(self.args[0])


class InvalidRequest(HypernetError):
    """A request that no state of the service could satisfy."""

    code = "invalid_request"
    http_status = 400


class InvalidName(InvalidRequest):
    """A user or tenant name outside the rules of `hypernet.storage.keys`."""

    code = "invalid_name"


class UnsupportedParameter(InvalidRequest):
    """A parameter that is known elsewhere and not honoured here; refused by name, never ignored."""

    code = "unsupported_parameter"


class RequestTooLarge(InvalidRequest):
    """A request body of more than `limit` bytes."""

    code = "request_too_large"
    http_status = 413
    limit: int | None = None


class UnsupportedMediaType(InvalidRequest):
    """A request body of a kind that the route does not read."""

    code = "unsupported_media_type"
    http_status = 415


class DocumentError(HypernetError):
    """A document that cannot be read."""

    code = "document_error"
    http_status = 400


class EmptyDocument(DocumentError):
    """A document with nothing in it but white space."""

    code = "empty_document"


class DocumentEncodingError(DocumentError):
    """Bytes that are not UTF-8 text. `offset` is where, in bytes (in characters for text that came decoded)."""

    code = "document_not_utf8"
    offset: int | None = None


class DocumentTooLong(DocumentError):
    """A document of `count` tokens where the hypernetwork reads at most `limit`."""

    code = "document_too_long"
    http_status = 413
    limit: int | None = None
    count: int | None = None


class AuthenticationError(HypernetError):
    """No credential, or one nobody knows."""

    code = "authentication_failed"
    http_status = 401


class PermissionDenied(HypernetError):
    """A known credential that may not do this."""

    code = "permission_denied"
    http_status = 403


class NotFound(HypernetError):
    """A thing that is not there."""

    code = "not_found"
    http_status = 404


class AdapterNotFound(NotFound):
    """An adapter that is unknown, erased or another tenant's: one class, one message, so nobody can tell which."""

    code = "adapter_not_found"

    def __init__(self, message: str = "No such adapter.", **extra: Any) -> None:
        super().__init__(message, **extra)


class VersionNotFound(NotFound):
    """A version number that this user's adapter does not have."""

    code = "version_not_found"


class Conflict(HypernetError):
    """A request that contradicts the present state."""

    code = "conflict"
    http_status = 409


class PreconditionFailed(Conflict):
    """The version the caller expected (`expected`) is not the present one (`actual`; 0 = there is none)."""

    code = "precondition_failed"
    http_status = 412
    expected: int | None = None
    actual: int | None = None


class AdapterError(HypernetError):
    """An adapter that cannot be used."""

    code = "adapter_error"
    http_status = 422


class AdapterInvalid(AdapterError):
    """An adapter file that is corrupt, truncated, not finite, of wrong shapes or of an unsupported kind."""

    code = "adapter_invalid"


class AdapterMismatch(AdapterError):
    """A sound adapter made for another base model."""

    code = "adapter_mismatch"
    http_status = 409


class StateError(HypernetError):
    """What a generator kept of documents cannot be used."""

    code = "state_error"
    http_status = 422


class StateInvalid(StateError):
    """A state file that is corrupt, cut short or no state at all."""

    code = "state_invalid"


class StateMismatch(StateError):
    """A sound state that another generator made."""

    code = "state_mismatch"
    http_status = 409


class CheckpointError(HypernetError):
    """A checkpoint that cannot be used."""

    code = "checkpoint_error"


class CheckpointNotFound(CheckpointError):
    """No checkpoint of that name; the message says which folder was looked in."""

    code = "checkpoint_not_found"


class CheckpointInvalid(CheckpointError):
    """A checkpoint folder with a missing or corrupt file; the message names it."""

    code = "checkpoint_invalid"


class CheckpointMismatch(CheckpointError):
    """A hypernetwork trained for another base model."""

    code = "checkpoint_mismatch"


class StoreError(HypernetError):
    """The adapter store failed."""

    code = "store_error"
    http_status = 503


class StoreUnavailable(StoreError):
    """The store cannot be reached, read or written; trying again later may work."""

    code = "store_unavailable"


class ObjectChanged(StoreError):
    """An object is not in the state that a conditional write expected; inside the store only, which then reads again.

    `unsure`: an earlier attempt at the same write got no answer, so that it may have been made and written over.
    """

    code = "object_changed"
    unsure: bool = False


class StoreCorrupt(StoreError):
    """What is stored is not what was put; trying again does not help."""

    code = "store_corrupt"
    http_status = 500


class EngineError(HypernetError):
    """The engine failed."""

    code = "engine_error"


class EngineBusy(EngineError):
    """The engine's queue is full."""

    code = "engine_busy"
    http_status = 429


class EngineClosed(EngineError):
    """The engine has been closed or is closing."""

    code = "engine_closed"
    http_status = 503


class PromptTooLong(EngineError):
    """A prompt of `count` tokens, with what was asked of the answer, passes the context of `limit` tokens."""

    code = "prompt_too_long"
    http_status = 400
    limit: int | None = None
    count: int | None = None


class NotResident(EngineError):
    """A completion asked for an adapter that nobody put into the engine."""

    code = "not_resident"


class SettingsError(HypernetError):
    """A setting that is missing, unknown or out of range."""

    code = "settings_error"


class PortInUse(SettingsError):
    """The port to listen on is taken."""

    code = "port_in_use"


class InternalError(HypernetError):
    """A defect of ours; the details are in the server's log under the request id, not in the message."""
