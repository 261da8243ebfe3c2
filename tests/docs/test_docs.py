"""The documentation can't lag behind the code: generated pages are fresh, and prose names only what exists."""

import re
import shlex

import pytest

from autogit.core.settings import load_settings

LINK = re.compile(r"\]\(([^)\s]+)\)")
REFERENCE = ["settings.md", "commands.md", "errors.md", "services.md", "templates.md"]


def _prose(files):
    return [p for p in files if p.suffix == ".md" and "changes" not in p.parts]


def _slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _anchors(page):
    return {_slug(line.lstrip("#")) for line in page.read_text().splitlines() if line.startswith("#")}


def _commands_in(text):
    """Every `autogit ...` that a reader is told to type, as words."""
    typed = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    typed += re.findall(r"`(autogit [^`]+)`", text)
    for line in typed:
        for part in re.findall(r"(?:^|[\s(/])autogit ([^;|&)]+)", f" {line}"):
            yield shlex.split(part.replace('"', "").replace("'", ""), comments=True)


def _split(words, commands):
    """The command that `words` begin with, and the options they use."""
    names = [n for n in range(len(words) + 1) if " ".join(words[:n]) in commands]
    known = max(names)
    return " ".join(words[:known]), words[known:]


def _is_group(command, commands):
    return any(name.startswith(f"{command} ".lstrip()) for name in commands if name != command)


@pytest.mark.parametrize("page", [*(f"docs/reference/{name}" for name in REFERENCE), ".env.example"])
def test_generated_page_is_fresh(page, pages, generator, root):
    assert generator.find_stale({page: pages[page]}, root) == [], "make docs writes it"


def test_check_names_stale_and_missing_pages(generator, tmp_path):
    (tmp_path / "fresh.md").write_text("as it should be\n")
    (tmp_path / "stale.md").write_text("as it was\n")
    pages = dict.fromkeys(("fresh.md", "stale.md", "missing.md"), "as it should be\n")
    assert generator.find_stale(pages, tmp_path) == ["stale.md", "missing.md"]


def test_every_error_code_has_its_section(generator, root):
    text = (root / "docs/reference/errors.md").read_text()
    kinds = generator.list_errors()
    assert [k.code for k in kinds if f"\n## {k.code}\n" not in text] == []
    assert len({k.code for k in kinds}) == len(kinds), "two errors share a code"


def test_every_command_and_option_is_in_the_reference(commands, root):
    text = (root / "docs/reference/commands.md").read_text()
    titles = [f"autogit {words}".strip() for words in commands]
    assert [title for title in titles if f"## `{title}`" not in text] == []
    assert [o for options in commands.values() for o in options if o not in text] == []


def test_every_command_has_a_help_text(generator):
    assert [page.words for page in generator.list_commands() if not page.help] == []
    rows = [(page.words, *row) for page in generator.list_commands() for row in page.rows]
    assert [f"{words} {name}" for words, name, help_text in rows if not help_text] == []


def test_every_setting_of_a_service_is_in_the_reference(generator, root):
    text = (root / "docs/reference/settings.md").read_text()
    keys = [s.name for d in generator.list_descriptors() for s in d.settings]
    keys += [p.setting for d in generator.list_descriptors() for p in d.ports.values() if p.setting]
    assert [key for key in keys if key not in text] == []


def test_env_example_has_no_faults(root, generator):
    assert load_settings(root / ".env.example", generator.list_descriptors())


@pytest.mark.parametrize("example", ["minimal", "homelab-domain"])
def test_example_has_no_faults(example, root, generator):
    assert load_settings(root / "examples" / example / ".env", generator.list_descriptors())


def test_the_next_step_of_an_example_has_no_faults(root, generator, tmp_path):
    page, env = (root / "examples" / "homelab-domain" / name for name in ("README.md", ".env"))
    block = re.search(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)[1]
    (tmp_path / ".env").write_text(env.read_text() + block)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "cloudflare-token").write_text("a" * 40)
    settings = load_settings(tmp_path / ".env", generator.list_descriptors())
    assert settings.cert_issuer == "letsencrypt-staging"
    assert settings.secret_files == (str(tmp_path / "secrets" / "cloudflare-token"),)


def test_links_lead_somewhere(root, files):
    broken = []
    for page in _prose(files):
        for link in LINK.findall(page.read_text()):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if "://" in link:
                continue
            if not target.exists() or (anchor and anchor not in _anchors(target)):
                broken.append(f"{page.relative_to(root)}: {link}")
    assert broken == []


def test_prose_tells_nobody_to_type_what_does_not_exist(root, files, commands):
    unknown = []
    for page in _prose(files):
        for words in _commands_in(page.read_text()):
            command, rest = _split(words, commands)
            options = {w.split("=")[0] for w in rest if w.startswith("-")}
            no_such_command = _is_group(command, commands) and re.match(r"[a-z]", "".join(rest[:1]))
            if no_such_command or options - commands[command] - commands[""] - {"--help"}:
                unknown.append(f"{page.relative_to(root)}: autogit {' '.join(words)}")
    assert unknown == []


def test_every_decision_has_the_five_parts(root):
    for page in sorted((root / "docs" / "decisions").glob("*.md")):
        text = page.read_text()
        parts = ("Status:", "## Context", "## Decision", "## Alternatives", "## Consequences")
        assert [part for part in parts if part not in text] == [], page.name
