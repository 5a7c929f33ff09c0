# SPDX-License-Identifier: Apache-2.0
"""What every vault promises (ports.vault), and what the one with a master key promises beyond that."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from longshore.adapters.vault import MasterKeyVault
from longshore.domain.errors import Unavailable
from longshore.domain.secret import Plaintext
from longshore.ports.vault import Vault

VALUE = "pässwörd-1234\n"
PLACE = "project-1/DB_PASSWORD"


class VaultContract:
    """Every adapter's test class derives from this one and gives the fixture."""

    @pytest.fixture
    def vault(self) -> Vault:
        raise NotImplementedError

    @pytest.mark.parametrize("value", [VALUE, "", " ", "x" * 65_536, "\x00", "\ud800 half", "🔑"])
    def test_what_was_sealed_opens_again(self, vault: Vault, value: str) -> None:
        sealed = vault.seal(Plaintext(value), context=PLACE)

        assert vault.open(sealed, context=PLACE).reveal() == value

    def test_a_sealed_value_shows_nothing_of_it(self, vault: Vault) -> None:
        sealed = vault.seal(Plaintext(VALUE), context=PLACE)

        assert VALUE.encode() not in sealed
        assert b"1234" not in sealed

    def test_the_same_value_never_looks_the_same(self, vault: Vault) -> None:
        sealed = {vault.seal(Plaintext(VALUE), context=PLACE) for _ in range(100)}

        assert len(sealed) == 100

    @pytest.mark.parametrize("place", ["project-2/DB_PASSWORD", "project-1/OTHER", "", PLACE + " "])
    def test_a_value_that_was_moved_does_not_open(self, vault: Vault, place: str) -> None:
        sealed = vault.seal(Plaintext(VALUE), context=PLACE)

        with pytest.raises(Unavailable):
            vault.open(sealed, context=place)

    def test_a_value_that_was_touched_does_not_open(self, vault: Vault) -> None:
        sealed = vault.seal(Plaintext(VALUE), context=PLACE)

        for at in range(len(sealed)):
            touched = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
            with pytest.raises(Unavailable):
                vault.open(touched, context=PLACE)
            with pytest.raises(Unavailable):
                vault.open(sealed[:at], context=PLACE)


class TestMasterKeyVault(VaultContract):
    @pytest.fixture
    def vault(self) -> Vault:
        return MasterKeyVault(bytes(range(32)))

    def test_another_key_does_not_open_it_and_the_words_say_so(self, vault: Vault) -> None:
        sealed = vault.seal(Plaintext(VALUE), context=PLACE)
        other = MasterKeyVault(bytes(32))

        with pytest.raises(Unavailable, match="another master key") as caught:
            other.open(sealed, context=PLACE)

        assert VALUE.strip() not in str(caught.value)
        assert PLACE in str(caught.value)

    def test_a_key_may_be_given_as_base64_or_hexadecimal(self, vault: Vault) -> None:
        sealed = vault.seal(Plaintext(VALUE), context=PLACE)
        key = bytes(range(32))

        for text in (
            base64.b64encode(key).decode(),
            base64.urlsafe_b64encode(key).decode().rstrip("="),
            f" {key.hex()}\n",
            key.hex().upper(),
        ):
            assert MasterKeyVault.from_text(text).open(sealed, context=PLACE).reveal() == VALUE

    def test_both_base64_alphabets_are_understood(self) -> None:
        for key in (b"\xff" * 32, b"\xfb\xef\xbe" * 10 + b"ab"):
            sealed = MasterKeyVault(key).seal(Plaintext(VALUE), context=PLACE)
            for text in (base64.b64encode(key), base64.urlsafe_b64encode(key)):
                opened = MasterKeyVault.from_text(text.decode()).open(sealed, context=PLACE)
                assert opened.reveal() == VALUE

    @pytest.mark.parametrize(
        "text",
        ["", "hunter2", "00" * 31, "00" * 33, "zz" * 32, base64.b64encode(bytes(31)).decode(), "ä" * 64],
    )
    def test_a_text_that_is_no_key_is_refused_without_being_shown(self, text: str) -> None:
        with pytest.raises(Unavailable, match="32 bytes") as caught:
            MasterKeyVault.from_text(text)

        assert not text or text not in str(caught.value)

    def test_the_vault_does_not_show_its_key(self) -> None:
        assert "AAAA" not in repr(MasterKeyVault.from_text(base64.b64encode(bytes(32)).decode()))

    def test_the_first_start_makes_a_key_that_only_its_owner_reads(self, tmp_path: Path) -> None:
        path = tmp_path / "master.key"

        sealed = MasterKeyVault.from_file(path).seal(Plaintext(VALUE), context=PLACE)

        assert path.stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.iterdir()) == [path]
        assert MasterKeyVault.from_file(path).open(sealed, context=PLACE).reveal() == VALUE
        assert MasterKeyVault.from_text(path.read_text()).open(sealed, context=PLACE).reveal() == VALUE

    def test_of_many_that_start_at_once_all_have_the_same_key(self, tmp_path: Path) -> None:
        path = tmp_path / "master.key"

        with ThreadPoolExecutor(16) as pool:
            vaults = list(pool.map(MasterKeyVault.from_file, [path] * 64))

        sealed = vaults[0].seal(Plaintext(VALUE), context=PLACE)
        assert {vault.open(sealed, context=PLACE).reveal() for vault in vaults} == {VALUE}
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
    def test_a_key_file_that_others_may_use_is_refused(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "master.key"
        MasterKeyVault.from_file(path)
        path.chmod(mode)

        with pytest.raises(Unavailable, match="chmod 600"):
            MasterKeyVault.from_file(path)

    @pytest.mark.parametrize("content", [b"", b"short", bytes(range(100, 132)), b"0" * 5000])
    def test_a_file_that_holds_no_key_is_refused_and_left_alone(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "master.key"
        path.touch(0o600)
        path.write_bytes(content)

        with pytest.raises(Unavailable, match=r"master\.key is not a key"):
            MasterKeyVault.from_file(path)

        assert path.read_bytes() == content

    def test_a_place_where_no_file_can_be_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="nowhere"):
            MasterKeyVault.from_file(tmp_path / "nowhere" / "master.key")
        with pytest.raises(Unavailable, match=str(tmp_path)):
            MasterKeyVault.from_file(tmp_path)
