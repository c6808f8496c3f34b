"""Pages hang together: links lead somewhere, and nothing points at one person's machine."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LARGEST_PICTURE_BYTES = 200_000

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)", re.DOTALL)
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_REGISTRY = re.compile(
    r"\b(pypi|pythonhosted|npmjs|docker\.io|ghcr\.io|quay\.io|artifactory|nexus|index-url|proxy\.golang)", re.I
)
_HERE = re.compile(r"(?<![\w.~$}])/(?:work|home|root|tmp|Users|mnt|srv|opt)/")


def anchors(page: Path) -> set[str]:
    """The names by which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_to_a_file_and_heading(pages: list[Path]) -> None:
    dead, seen = [], 0
    for page in pages:
        for target in _LINK.findall(_CODE.sub("", page.read_text())):
            if "://" in target:
                continue
            seen += 1
            name, _, anchor = target.partition("#")
            there = (page.parent / name).resolve() if name else page
            if not there.exists() or (anchor and anchor not in anchors(there)):
                dead.append(f"{page.relative_to(ROOT)}: {target}")
    assert dead == []
    assert seen > 20


def test_no_page_names_a_registry_or_a_path_of_one_machine(pages: list[Path]) -> None:
    for page in pages:
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            assert not _REGISTRY.search(line), f"{page.name}:{number} names a registry: {line}"
            assert not _HERE.search(line), f"{page.name}:{number} names a path of one machine: {line}"


def test_every_guide_and_reference_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in [*(ROOT / "docs" / "guide").glob("*.md"), *(ROOT / "docs" / "reference").glob("*.md")]:
        assert f"({page.relative_to(ROOT)})" in readme, f"README.md does not link {page.name}"


def test_pictures_are_small_and_described() -> None:
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert pictures
    for description, name in pictures:
        assert len(description) > 40
        assert (ROOT / name).stat().st_size < LARGEST_PICTURE_BYTES
