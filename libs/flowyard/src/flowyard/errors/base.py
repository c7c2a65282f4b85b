"""The root of the error tree. A class knows its code, title and HTTP status; its constructor takes facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class FlowyardError(Exception):
    """Anything that Flowyard reports to a person. `str()` of it is the message, without a traceback.

    `title` is the same for every error of a class. `retry_after`: seconds after which another try makes sense.
    `detail_fields`: the attributes that are part of an HTTP answer, for programs. What a class doesn't name in its
    header, it has from its base.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something failed"
    detail_fields: ClassVar[tuple[str, ...]] = ()
    retry_after: float | None = None

    def __init_subclass__(cls, *, code: str = "", status: int = 0, title: str = "") -> None:
        super().__init_subclass__()
        cls.code, cls.status, cls.title = code or cls.code, status or cls.status, title or cls.title

    @property
    def message(self) -> str:
        return str(self)

    @property
    def details(self) -> Mapping[str, Any]:
        """The attributes named in `detail_fields`, as JSON values."""
        return {name: getattr(self, name) for name in self.detail_fields}
