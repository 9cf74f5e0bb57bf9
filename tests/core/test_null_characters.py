"""A null character, which PostgreSQL keeps in no text, is refused in words where an address has it."""

import pytest


@pytest.mark.parametrize("address", ["/search/?q=a%00b", "/api/v1/jobs/?name=%00", "/api/v1/models/?name=a%00"])
def test_a_filter_with_a_null_character_is_the_clients_fault(owner, address):
    person = owner.api if address.startswith("/api/") else owner.page
    response = person.get(address)
    assert response.status_code == 422
    assert "null character" in response.content.decode()
