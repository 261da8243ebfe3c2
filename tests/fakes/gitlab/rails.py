"""The stand-in for `gitlab-rails runner -`: a program for PATH, and the few sentences of Ruby it understands."""

from __future__ import annotations

import re
import sys
from datetime import date, timedelta
from pathlib import Path

from tests.fakes.gitlab.api_users import token_faults
from tests.fakes.gitlab.state import now

_PROGRAM = '''\
#!{python} -IS
"""Stands in for gitlab-rails in tests: takes `runner -`, checks the Ruby if there is a ruby, asks the fake GitLab."""
import json, shutil, subprocess, sys, urllib.error, urllib.request

if sys.argv[1:] != ["runner", "-"]:
    sys.exit("this stand-in understands `gitlab-rails runner -` only")
script = sys.stdin.read()
ruby = shutil.which("ruby")
if ruby:
    checked = subprocess.run([ruby, "-c"], input=script, text=True, capture_output=True)
    if checked.returncode:
        sys.stderr.write(checked.stderr)
        sys.exit(1)
request = urllib.request.Request(
    "{url}/__fake__/rails", json.dumps({{"script": script}}).encode(), {{"X-Key": "{key}"}}
)
try:
    answer = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(request))
except urllib.error.URLError as error:
    sys.exit(f"rails cannot reach its database: {{error}}")
sys.stdout.write(answer["stdout"])
sys.stderr.write(answer["stderr"])
sys.exit(answer["status"])
'''
_STRING = r"""(?:'[^'\\]*'|"[^"\\#]*")"""
_FIND_USER = re.compile(
    rf"(?P<name>\w+)\s*=\s*User\.(?:find_by_username!?\((?P<plain>{_STRING})\)|find_by!?\(username:\s*(?P<keyed>{_STRING})\)"
    r"|find\((?P<number>\d+)\)|(?P<admin>admins\.first))"
)
_CREATE = re.compile(
    r"(?P<token>\w+)\s*=\s*(?P<user>\w+)\.personal_access_tokens\.create!\((?P<arguments>.*)\)", re.DOTALL
)
_REVOKE = re.compile(
    rf"(?P<user>\w+)\.personal_access_tokens(?:\.active)?\.where\(name:\s*(?P<name>{_STRING})\)\.(?:find_each|each)\(&:revoke!\)"
)
_PUTS = re.compile(r"(?:puts|print)\s*\(?\s*(?P<token>\w+)\.token\s*\)?")
_GUARD = re.compile(r"(?:abort|raise|exit)\b(?P<text>.*?)\s(?P<word>unless|if)\s+(?P<name>\w+)(?P<nil>\.nil\?)?")
_FLUSH = re.compile(r"(?:STDOUT|\$stdout)\.(?:flush|sync\s*=\s*true)")
_ARGUMENT = re.compile(
    rf"\s*(?P<key>name|scopes|expires_at|description):\s*"
    rf"(?P<value>{_STRING}|\[[^\]]*\]|%w\[[^\]]*\]|%i\[[^\]]*\]|\d+\.(?:days?|weeks?|months?|years?)\.from_now(?:\.to_date)?)\s*,?"
)
_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}


class RubyError(Exception):
    """What the runner writes to standard error before it fails."""


def write_program(folder: Path, url, key):
    """Put `gitlab-rails` into a folder; the path of the program."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "gitlab-rails"
    program.write_text(_PROGRAM.format(python=sys.executable, url=url, key=key))
    program.chmod(0o755)
    return program


def statements(script):
    """One a line or between semicolons, comments gone, calls over several lines joined."""
    found, open_ones, current = [], 0, ""
    for line in script.splitlines():
        text = re.sub(r"(^|\s)#(?!\{).*$", "", line)
        current = f"{current} {text}".strip()
        open_ones += text.count("(") + text.count("[") - text.count(")") - text.count("]")
        if open_ones <= 0:
            found.extend(part.strip() for part in current.split(";") if part.strip())
            current, open_ones = "", 0
    return [*found, current] if current else found


def run_script(core, script):
    """Run a script of the kinds of statement this understands: standard output, standard error, exit status."""
    runner = _Runner(core)
    try:
        with core.state.lock:
            for statement in statements(script):
                runner.run(statement)
    except RubyError as error:
        return {"stdout": runner.output, "stderr": f"{error}\n", "status": 1}
    return {"stdout": runner.output, "stderr": "", "status": 0}


class _Runner:
    def __init__(self, core):
        self._core = core
        self._named: dict[str, object] = {}
        self.output = ""

    def run(self, statement):
        for pattern, do in (
            (_FIND_USER, self._find_user),
            (_CREATE, self._create),
            (_REVOKE, self._revoke),
            (_PUTS, self._puts),
            (_GUARD, self._guard),
            (_FLUSH, lambda _: None),
        ):
            if match := pattern.fullmatch(statement):
                do(match)
                return
        raise RubyError(f"the stand-in for gitlab-rails does not understand: {statement}")

    def _find_user(self, match):
        users = self._core.state.users
        if match["admin"]:
            found = next((user for user in users.values() if user.admin), None)
        else:
            found = self._core.state.find_user(match["number"] or (match["plain"] or match["keyed"])[1:-1])
        self._named[match["name"]] = found

    def _guard(self, match):
        """`abort("...") unless user` and its kin."""
        if match["name"] not in self._named:
            raise RubyError(f"undefined local variable or method '{match['name']}' for main (NameError)")
        holds = (self._named[match["name"]] is None) == bool(match["nil"])
        if holds == (match["word"] == "if"):
            raise RubyError(match["text"].strip("( )'\""))

    def _value(self, name, method):
        if name not in self._named:
            raise RubyError(f"undefined local variable or method '{name}' for main (NameError)")
        if self._named[name] is None:
            raise RubyError(f"undefined method '{method}' for nil (NoMethodError)")
        return self._named[name]

    def _create(self, match):
        user = self._value(match["user"], "personal_access_tokens")
        given = _arguments(match["arguments"])
        faults = token_faults(self._core.state.settings, given.get("scopes", []), given.get("expires_at"))
        if not given.get("name"):
            faults["name"] = ["can't be blank"]
        if faults:
            names = {"expires_at": "Expiration date", "scopes": "Scopes", "name": "Name"}
            texts = ", ".join(f"{names[key]} {text}" for key, some in faults.items() for text in some)
            raise RubyError(f"Validation failed: {texts} (ActiveRecord::RecordInvalid)")
        made = self._core.state.add_token(
            user, given["name"], given["scopes"], given.get("expires_at"), description=given.get("description", "")
        )
        self._named[match["token"]] = made

    def _revoke(self, match):
        user = self._value(match["user"], "personal_access_tokens")
        for token in self._core.state.tokens.values():
            if token.user_id == user.id and token.name == match["name"][1:-1]:
                token.revoked = True

    def _puts(self, match):
        self.output += f"{self._value(match['token'], 'token').value}\n"


def _arguments(text):
    given, rest = {}, text.strip()
    while rest:
        match = _ARGUMENT.match(rest)
        if match is None:
            raise RubyError(f"the stand-in for gitlab-rails does not understand the arguments from here: {rest}")
        given[match["key"]] = _read(match["value"], match["key"])
        rest = rest[match.end() :].strip()
    return given


def _read(value, key):
    if value.startswith(("%w[", "%i[")):
        return value[3:-1].split()
    if value.startswith("["):
        return [one.strip().strip("'\"").removeprefix(":") for one in value[1:-1].split(",") if one.strip()]
    if ".from_now" in value:
        number, unit = re.match(r"(\d+)\.(\w+?)s?\.", value).groups()
        return now().date() + timedelta(days=int(number) * _DAYS[unit])
    text = value[1:-1]
    return date.fromisoformat(text) if key == "expires_at" else text
