"""What takes root is tried by this very process, and not guessed from its user's number."""

from __future__ import annotations

import pytest

from harness.errors import NeedsRoot, RuntimeUnavailable
from harness.rights import rights
from runtimes.box import require_root


@pytest.mark.usefixtures("as_nobody")
def test_nobody_has_none_of_the_rights_and_is_told_how_to_get_each() -> None:
    found = rights()
    assert [right.name for right in found if right.had] == []
    assert all("sudo" in right.remedy for right in found)


@pytest.mark.usefixtures("as_nobody")
def test_a_runtime_of_roots_says_that_it_is_one() -> None:
    with pytest.raises(NeedsRoot, match="chroot needs root") as caught:
        require_root("chroot")
    assert isinstance(caught.value, RuntimeUnavailable)
    assert "sudo" in caught.value.hint
