"""Secret inputs at rest."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.errors.runs import UnreadableSecret
from flowyard.secrets.masking import is_sealed
from flowyard.secrets.sealing import SecretBox, new_key, read_keys, secret_box

ONE, TWO = bytes(range(32)), bytes(range(32, 64))
OF = {"workflow": "triage", "name": "token"}


@given(st.text(st.characters(codec=None, categories=None)))
def test_what_is_sealed_is_opened_again(value: str) -> None:
    sealed = SecretBox([ONE]).seal(value, **OF)
    assert is_sealed(sealed)
    assert sealed.isascii()
    assert SecretBox([ONE]).open(sealed, **OF) == value


def test_the_same_value_is_never_sealed_the_same_way() -> None:
    assert SecretBox([ONE]).seal("s3cret", **OF) != SecretBox([ONE]).seal("s3cret", **OF)


@pytest.mark.parametrize("opened", [{"workflow": "other", "name": "token"}, {"workflow": "triage", "name": "password"}])
def test_a_sealed_value_opens_only_where_it_belongs(opened: dict[str, str]) -> None:
    with pytest.raises(UnreadableSecret, match="changed, or belongs to another field"):
        SecretBox([ONE]).open(SecretBox([ONE]).seal("s3cret", **OF), **opened)


def test_a_changed_value_is_not_opened() -> None:
    sealed = SecretBox([ONE]).seal("s3cret", **OF)
    # But for its last characters, some bits of which mean nothing.
    for place in range(sealed.rindex(":") + 1, len(sealed) - 4):
        changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
        with pytest.raises(UnreadableSecret):
            SecretBox([ONE]).open(changed, **OF)


def test_the_first_key_seals_and_all_open() -> None:
    before, after = SecretBox([ONE]), SecretBox([TWO, ONE])
    assert after.open(before.seal("old", **OF), **OF) == "old"
    with pytest.raises(UnreadableSecret, match="sealed under another key"):
        before.open(after.seal("new", **OF), **OF)


def test_what_was_never_sealed_is_not_opened() -> None:
    with pytest.raises(UnreadableSecret) as caught:
        SecretBox([ONE]).open("s3cret", **OF)
    assert "s3cret" not in str(caught.value)


def test_a_mark_says_nothing_without_its_key_and_outlasts_a_new_one() -> None:
    [mark] = SecretBox([ONE]).marks(b"data")
    assert mark in SecretBox([TWO, ONE]).marks(b"data")
    assert mark not in SecretBox([TWO]).marks(b"data")
    assert mark not in SecretBox([ONE]).marks(b"datum")


def test_keys_are_read_in_any_base64_and_as_a_list() -> None:
    url = base64.urlsafe_b64encode(ONE).decode().rstrip("=")
    assert read_keys(f"{url}, {base64.b64encode(TWO).decode()}") == [ONE, TWO]
    assert len(read_keys(new_key())[0]) == 32
    assert secret_box("") is None


@pytest.mark.parametrize(
    "text", ["s3cret", base64.b64encode(b"short").decode(), "é" * 43, f"{base64.b64encode(ONE).decode()},"]
)
def test_a_wrong_key_is_refused_without_being_spelled(text: str) -> None:
    with pytest.raises(ValueError, match="32 random bytes in Base64") as caught:
        read_keys(text)
    assert text not in str(caught.value)
