"""Certificates that Traefik orders by itself (CERT_MANAGER=traefik): waiting for them, and how they are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from time import monotonic

from autogit.core.reconcile import Prepared
from autogit.core.redact import redact
from autogit.core.traefik_resolver import covers, is_traefiks
from autogit.core.verify import Verdict, await_routes
from autogit.errors import AutogitError, UnsupportedError
from autogit.model.certificate_views import CertificateStatusView, CertsView
from autogit.model.host import CertificateFacts
from autogit.model.plan import Plan
from autogit.model.resource import Address
from autogit.model.spec import PlatformSpec, ResolverSpec
from autogit.model.text import moment_words
from autogit.operations.project import Project
from autogit.operations.wire import ask_ingress, days_left, served_view
from autogit.providers.ssl.served import Served
from autogit.providers.ssl.traefik import TraefikIssuer

FIRST_ORDER_SECONDS = 150.0
"""How long a first order may take: lego gives records up to two minutes to be seen everywhere."""
_POLL_SECONDS = 0.2
_READING_SECONDS = 2.0
"""How long a Traefik that was started anew may take to read its certificates."""
_POLLS_A_LOOK = 5
_LOG_LINES = 400
_LAST_SHARE = 6
_DEFAULT = "TRAEFIK DEFAULT CERT"
_STARTED = "Traefik version "
_ORDERS = re.compile(r"\bERR\b.*(\.acme\b|ACME|lib=lego)")
_SAID = re.compile(r'error="((?:[^"\\]|\\.)*)"')
_HINT = "autogit up has it ordered again"


def check_here(project: Project, command: str) -> None:
    """Raise UnsupportedError where Traefik orders the certificates: the command is about AutoGit's own."""
    if is_traefiks(project.settings):
        raise UnsupportedError(
            f"autogit {command} is for certificates that AutoGit orders, and CERT_MANAGER is traefik "
            f"({project.settings.source_of('CERT_MANAGER')})",
            hint="autogit certs status shows what Traefik serves; CERT_MANAGER=autogit has AutoGit order again",
        )


def serials_of(project: Project, facts: CertificateFacts) -> frozenset[str]:
    """Return the serials that may be served: by http-01 Traefik has a certificate for each name."""
    issuer = project.certificates
    return issuer.serials(project.context.clock()) if isinstance(issuer, TraefikIssuer) else frozenset({facts.serial})


def renewed(project: Project) -> tuple[str, ...]:
    """Return what there is to say of a renewal: that somebody else sees to it."""
    facts = project.certificates.facts(project.context.clock())
    return tuple(
        f"{name}: Traefik renews it by itself (CERT_MANAGER=traefik), "
        + (f"its certificate is good until {one.not_after[:10]}" if one.serial else f"and has none yet: {_HINT}")
        for name, one in sorted(facts.items())
    )


async def ask_routes(project: Project, spec: PlatformSpec, resolver: ResolverSpec) -> Verdict:
    """Wait until Traefik has what it orders, then until every route answers with it; return what is wrong.

    While AutoGit's former certificate is served in its place, the routes are asked once that is named no more.
    """
    if problem := await _await_order(project, spec, resolver):
        return Verdict((problem,))
    if resolver.former:
        return Verdict()
    issuer, now = _issuer(project), project.context.clock()
    serials = issuer.serials(now)
    serial = next(iter(serials)) if len(serials) == 1 else ""  # by http-01 each name may have its own
    return await await_routes(spec, issuer.root_path(spec.base_domain), serial)


def settling(prepared: Prepared) -> Plan | None:
    """Return the rest of a plan that names AutoGit's former certificate no more, now that Traefik has its own."""
    if prepared.spec.resolver is None or prepared.spec.resolver.is_awaited:
        return None
    place = Address("file", f"{prepared.spec.ingress}/dynamic/tls.yml")
    pending = [change.address for change in prepared.plan.pending]
    if place not in pending:
        return None
    if pending == [place]:
        return prepared.plan
    return replace(prepared.plan, changes=tuple(c for c in prepared.plan.changes if c.address == place))


async def is_without_its_own(project: Project, prepared: Prepared) -> bool:
    """Tell whether Traefik serves a certificate of its own making though it has one that is good.

    It has started while others could read its file, and that was mended without it. One that was just started has read
    nothing yet, and is given a moment.
    """
    resolver, spec = prepared.spec.resolver, prepared.spec
    unit = prepared.state.find(Address(spec.unit_kind, spec.ingress))
    if resolver is None or resolver.is_awaited or unit is None or unit.attributes.get("state") != "running":
        return False
    deadline = monotonic() + _READING_SECONDS
    while any(_DEFAULT in one.issuer for one in (await ask_ingress(project)).values()):
        if monotonic() >= deadline:
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


async def _await_order(project: Project, spec: PlatformSpec, resolver: ResolverSpec) -> str:
    """Return "" once Traefik has certificates for all names, else what its log says, or that time is over."""
    deadline, looks = monotonic() + FIRST_ORDER_SECONDS, 0
    name = resolver.names[0]
    while not covers(_facts(project).names, resolver.names):
        looks += 1
        if looks % _POLLS_A_LOOK == 0 and (said := await said_of_orders(project, spec.ingress)):
            return f"Traefik has no certificate for {name}: {said}"
        if monotonic() >= deadline:
            return (
                f"Traefik has no certificate for {name} after {FIRST_ORDER_SECONDS:.0f} s, and its log tells no reason"
            )
        await asyncio.sleep(_POLL_SECONDS)
    return ""


async def said_of_orders(project: Project, ingress: str) -> str:
    """Return the last error of an order in the log of the Traefik that runs now, secrets taken out; "" for none."""
    try:
        lines = await project.runtime.logs(ingress, lines=_LOG_LINES)
        values = project.secrets.load().values()
    except AutogitError:
        return ""
    return redact(last_error(lines), values)


def last_error(lines: Sequence[str]) -> str:
    """Return what the last failed order of Traefik's present run said, in one line; "" for none; pure."""
    begun = max((number for number, line in enumerate(lines) if _STARTED in line), default=0)
    found = [line for line in lines[begun:] if _ORDERS.search(line)]
    if not found:
        return ""
    said = _SAID.search(found[-1])
    text = said[1].replace("\\n", " ").replace('\\"', '"') if said else found[-1].partition("ERR ")[2]
    return " ".join(text.split())


async def status(project: Project) -> CertsView:
    """Return what Traefik has, and what is served for each name of the platform."""
    spec, now = project.outline(), project.context.clock()
    facts, issuer = _facts(project), _issuer(project)
    found, serials = await ask_ingress(project), issuer.serials(now)
    problems = [f"{host}: {why}" for host, one in found.items() if (why := _wrong(one, serials, now))]
    said = await said_of_orders(project, spec.ingress) if problems or not facts.serial else ""
    sentences = [sentence for sentence in (issuer.problem(), *problems) if sentence]
    missing = facts.due or ("" if covers(facts.names, spec.certificate.names) else "it has none for all names yet")
    return CertsView(
        certificates=(
            CertificateStatusView(
                name=spec.base_domain,
                issuer=issuer.issuer,
                version=0,
                names=facts.names,
                serial=facts.serial,
                not_after=facts.not_after,
                days_left=days_left(facts.not_after, now),
                renew_at="",
                due=missing,
                failure=said,
                manager="traefik",
                level="error" if sentences or missing else "ok",
                sentence="; ".join(sentences) or missing,
                served=tuple(served_view(host, one, serials, now) for host, one in found.items()),
            ),
        )
    )


def _wrong(served: Served, serials: frozenset[str], now: datetime) -> str:
    """Return what is wrong with what is served, "" for nothing."""
    if served.error:
        return f"does not answer: {served.error}"
    if _DEFAULT in served.issuer:
        return f"is served with a certificate of Traefik's own making, which nobody trusts: {_HINT}"
    start, end = (datetime.fromisoformat(text) for text in (served.not_before, served.not_after))
    if end <= now:
        return f"is served with one that has expired at {moment_words(served.not_after)}"
    if end - now < (end - start) / _LAST_SHARE:
        ends = moment_words(served.not_after)
        return f"is served with one that ends at {ends}: Traefik should have renewed it long ago"
    if served.serial not in serials:
        return "is served with another one than Traefik's"
    return ""


def _facts(project: Project) -> CertificateFacts:
    return project.certificates.facts(project.context.clock())[project.settings.base_domain]


def _issuer(project: Project) -> TraefikIssuer:
    issuer = project.certificates
    if not isinstance(issuer, TraefikIssuer):  # pragma: no cover - callers know
        raise UnsupportedError("CERT_MANAGER is not traefik")
    return issuer
