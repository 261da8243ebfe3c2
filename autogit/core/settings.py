"""Loading `.env`: read with line numbers, check everything, report every fault at once, never show a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import ValidationError

from autogit.core.fallback import fallback_fault
from autogit.core.provider_settings import provider_faults
from autogit.errors import Fault, NotInitialisedError, SettingsError
from autogit.model.service import IMAGE, Scalar, ServiceDescriptor, SettingDescriptor
from autogit.model.settings import DEFAULT_SERVICES, LOCAL_ISSUER, LONGEST_PASSWORD_BYTES, Settings
from autogit.providers.registry import find_provider_setting, provider_names, provider_settings

_FILE = "_FILE"
_FLAGS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
    "": False,
}
_LOGIN = re.compile(r"//[^/\s]*@")
_MAY_BE_EMPTY = frozenset({"DNS_SSH_NAME"})
_LEAST_ADDRESSES = 8  # gateway, ingress, the service, and the two that no network gives away
_HINT = "autogit config validate; every setting is described in docs/reference/settings.md"


@dataclass(frozen=True, slots=True)
class EnvLine:
    """One assignment of `.env`: `line` counts from 1. The value is kept out of repr: it may be a secret."""

    key: str
    value: str = field(repr=False)
    line: int


def load_settings(env_file: Path, descriptors: Iterable[ServiceDescriptor]) -> Settings:
    """Return the settings of `.env`. Raises NotInitialisedError, and SettingsError with all faults."""
    lines, faults = _parse(env_file)
    values = {key: line.value for key, line in lines.items()}
    places = {key: f"{env_file.name} line {line.line}" for key, line in lines.items()}
    return _Builder(tuple(descriptors), places, env_file.parent, env_file.name).build(values, faults)


def read_env(env_file: Path) -> dict[str, EnvLine]:
    """Return each assignment by key. Raises NotInitialisedError, and SettingsError where the text itself is broken."""
    lines, faults = _parse(env_file)
    if faults:
        raise _error(faults, env_file.name)
    return lines


def build_settings(values: Mapping[str, str], descriptors: Iterable[ServiceDescriptor], *, env_dir: Path) -> Settings:
    """Return the settings of key/value pairs; `env_dir` is what `_FILE` paths are relative to. Raises SettingsError."""
    return _Builder(tuple(descriptors), {}, env_dir, ".env").build(values, [])


def _parse(env_file: Path) -> tuple[dict[str, EnvLine], list[Fault]]:
    name = env_file.name
    text = _read_text(env_file)
    lines: dict[str, EnvLine] = {}
    faults: list[Fault] = []
    for binding in parse_stream(StringIO(text)):
        # A binding's text may begin with blank lines and comments: its own line is where the key stands.
        raw = binding.original.string
        line = binding.original.line + raw[: len(raw) - len(raw.lstrip())].count("\n")
        place = f"{name} line {line}"
        if binding.error or (binding.key is not None and binding.value is None):
            faults.append(Fault(place, "", "is not KEY=value"))
        elif binding.key is not None and binding.value is not None:
            if binding.key in lines:
                faults.append(Fault(place, binding.key, f"is set twice (first on line {lines[binding.key].line})"))
            lines.setdefault(binding.key, EnvLine(binding.key, binding.value, line))
    return lines, faults


def _read_text(env_file: Path) -> str:
    name = env_file.name
    try:
        data = env_file.read_bytes()
    except FileNotFoundError as exc:
        raise NotInitialisedError(f"there is no {name} in {env_file.parent}", hint="autogit init") from exc
    except OSError as exc:
        raise SettingsError(
            f"{name} cannot be read: {exc.strerror}", hint=f"mend its permissions: ls -ld {name}"
        ) from exc
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        raise _error([Fault(f"{name} line {line}", "", "is not UTF-8 text")], name) from exc


def _error(faults: Sequence[Fault], name: str) -> SettingsError:
    def line(fault: Fault) -> int:
        word = fault.place.rpartition(" ")[2]
        return int(word) if word.isdigit() else 0

    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return SettingsError(f"{count} in {name}", faults=sorted(faults, key=line), hint=_HINT)


class _Builder:
    """Turns key/value pairs into Settings, collecting every fault on the way."""

    def __init__(
        self, descriptors: Sequence[ServiceDescriptor], places: Mapping[str, str], env_dir: Path, name: str
    ) -> None:
        self.descriptors = descriptors
        self.places = places
        self.env_dir = env_dir
        self.name = name
        self.faults: list[Fault] = []
        self.own = {n.upper(): n for n, info in Settings.model_fields.items() if info.json_schema_extra}
        self.service_settings = {s.name: s for d in descriptors for s in d.settings}
        self.secrets = {k for k, n in self.own.items() if "SecretStr" in str(Settings.model_fields[n].annotation)}
        self.secrets |= {s.name for s in self.service_settings.values() if s.secret}
        self.port_keys = dict(_port_keys(descriptors))
        self.image_keys = {f"IMAGE_{_upper(d.service)}": d.service for d in descriptors}

    def build(self, values: Mapping[str, str], faults: Sequence[Fault]) -> Settings:
        self.faults = list(faults)
        fields: dict[str, Any] = {
            "port_overrides": {}, "image_overrides": {}, "service_settings": {}, "service_secrets": {},
            "provider_settings": {}, "provider_secrets": {}, "sources": dict(self.places), "secret_files": (),
        }  # fmt: skip
        for key, value in values.items():
            self._sort_in(key, value, values, fields)
        for setting in self.service_settings.values():
            if not setting.secret and setting.default is not None:
                fields["service_settings"].setdefault(setting.name, setting.default)
        self._check_service_settings(fields["service_settings"])
        self._check_passwords(fields["service_secrets"])
        self._check_required(fields)
        self._check_needed_services(fields)
        self._check_services(fields)
        self._check_ports(fields)
        self._check_fallback(fields)
        settings = self._validate(fields)
        if settings is not None:
            self.faults += provider_faults(settings, self.name)
        if self.faults or settings is None:
            raise _error(self.faults, self.name)
        return settings

    def _fault(self, subject: str, message: str, key: str = "") -> None:
        self.faults.append(Fault(self.places.get(key or subject, self.name), subject, message))

    def _sort_in(self, key: str, value: str, values: Mapping[str, str], fields: dict[str, Any]) -> None:
        base = key.removesuffix(_FILE)
        if key.endswith(_FILE) and (base in self.secrets or self._is_providers_secret(base)):
            if values.get(base):
                self._fault(key, f"{base} is given too: keep one of them")
            elif value:
                fields["secret_files"] = (*fields["secret_files"], str((self.env_dir / value).absolute()))
                self._put(base, self._read_secret(key, value), fields)
        elif self._is_known(key):
            if value or key in _MAY_BE_EMPTY:  # an empty value is an unset one
                self._put(key, value, fields)
        elif key in self.port_keys:
            self._put_port(key, value, fields)
        elif key in self.image_keys:
            fields["image_overrides"][self.image_keys[key]] = value
            if not re.fullmatch(IMAGE, value):
                self._fault(f"{key}={value}", "must be an image with a tag, which is another than latest", key)
        else:
            self._fault(key, f"unknown setting{self._nearest(key)}")

    def _is_known(self, key: str) -> bool:
        return key in self.own or key in self.service_settings or find_provider_setting("dns", key) is not None

    def _is_providers_secret(self, key: str) -> bool:
        setting = find_provider_setting("dns", key)
        return setting is not None and setting.secret

    def _put(self, key: str, value: str, fields: dict[str, Any]) -> None:
        if key in self.own:
            fields[self.own[key]] = value
        elif key not in self.service_settings:
            fields["provider_secrets" if self._is_providers_secret(key) else "provider_settings"][key] = value
        elif self.service_settings[key].secret:
            fields["service_secrets"][key] = value
        else:
            fields["service_settings"][key] = value

    def _put_port(self, key: str, value: str, fields: dict[str, Any]) -> None:
        if value.isascii() and value.isdigit() and 1 <= int(value) <= 65535:  # noqa: PLR2004 - the highest TCP port
            fields["port_overrides"][key] = int(value)
        else:
            self._fault(key, "must be a port, a whole number from 1 to 65535")

    def _read_secret(self, key: str, value: str) -> str:
        try:
            text = (self.env_dir / value).read_text(encoding="utf-8").removesuffix("\n")
        except FileNotFoundError:
            self._fault(key, f"no such file: {value}")
        except (OSError, UnicodeDecodeError):
            self._fault(key, f"cannot be read as UTF-8 text: {value}")
        else:
            if text:
                return text
            self._fault(key, f"is empty: {value}")
        return "unreadable"  # the fault above ends the build; nobody sees this value

    def _nearest(self, key: str) -> str:
        known = [*self.own, *self.service_settings, *self.port_keys, *self.image_keys]
        known += [s.key for name in provider_names("dns") for s in provider_settings("dns", name)]
        known += [f"{name}{_FILE}" for name in self.secrets]
        near = get_close_matches(key.upper(), known, n=1)
        return f". Did you mean {near[0]}?" if near else ""

    def _check_service_settings(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            try:
                typed_value(self.service_settings[name], value)
            except ValueError as exc:
                self._fault(f"{name}={value}", str(exc), name)

    def _check_required(self, fields: Mapping[str, Any]) -> None:
        for setting in self.service_settings.values():
            if setting.name in fields["service_secrets"] or fields["service_settings"].get(setting.name):
                continue
            flag, other = setting.required_when, setting.required_with
            if flag and _FLAGS.get(str(fields["service_settings"].get(flag, "")).lower()):
                self._fault(setting.name, f"is needed with {flag}=true", flag)
            if other and other in {*fields["service_secrets"], *fields["service_settings"]}:
                self._fault(setting.name, f"is needed with {other}", other)

    def _check_needed_services(self, fields: Mapping[str, Any]) -> None:
        enabled = {
            name.strip() for name in str(fields.get("services_enabled") or ",".join(DEFAULT_SERVICES)).split(",")
        }
        for setting in self.service_settings.values():
            on = _FLAGS.get(str(fields["service_settings"].get(setting.name, "")).lower())
            if setting.needs_service and on and setting.needs_service not in enabled:
                message = f"needs the service {setting.needs_service}: add it to SERVICES_ENABLED"
                self._fault(f"{setting.name}=true", message, setting.name)

    def _check_passwords(self, secrets: Mapping[str, str]) -> None:
        for name, value in secrets.items():
            if len(value) < self.service_settings[name].min_length:
                key = name if name in self.places else f"{name}{_FILE}"
                self._fault(key, f"must have at least {self.service_settings[name].min_length} characters")
            if self.service_settings[name].htpasswd and len(value.encode()) > LONGEST_PASSWORD_BYTES:
                key = name if name in self.places else f"{name}{_FILE}"
                self._fault(key, f"is longer than {LONGEST_PASSWORD_BYTES} bytes, the most that bcrypt takes")

    def _check_services(self, fields: Mapping[str, Any]) -> None:
        names = {d.service for d in self.descriptors}
        for name in (part.strip() for part in str(fields.get("services_enabled", "")).split(",")):
            if name and name not in names:
                near = get_close_matches(name, names, n=1)
                guess = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(names))}"
                self._fault("SERVICES_ENABLED", f"there is no service called {name}. {guess}")

    def _check_ports(self, fields: Mapping[str, Any]) -> None:
        for prefix, service in self.port_keys.items():
            one, other = f"PORT_{_upper(service)}", f"PORT_{_upper(service)}_HTTP"
            given = fields["port_overrides"]
            if prefix == other and one in given and other in given:
                self._fault(other, f"means the same as {one}: keep one of them")
        claims = {
            "HTTP_PORT": fields.get("http_port"),
            "HTTPS_PORT": fields.get("https_port"),
            **fields["port_overrides"],
        }
        owners: dict[str, str] = {}
        for key, number in claims.items():
            if number is not None:
                owner = owners.setdefault(str(number), key)
                if owner != key:
                    self._fault(key, f"is the same port as {owner}")

    def _check_fallback(self, fields: Mapping[str, Any]) -> None:
        fallback = str(fields.get("cert_fallback_issuer", ""))
        if sentence := fallback_fault(str(fields.get("cert_issuer", LOCAL_ISSUER)), fallback):
            self._fault(f"CERT_FALLBACK_ISSUER={_LOGIN.sub('//***@', fallback)}", sentence, "CERT_FALLBACK_ISSUER")

    def _validate(self, fields: Mapping[str, Any]) -> Settings | None:
        try:
            return Settings(**fields)
        except ValidationError as exc:
            for error in exc.errors(include_url=False, include_input=False):
                key = str(error["loc"][0]).upper()
                value = _LOGIN.sub("//***@", str(fields.get(self.own.get(key, ""), "")))
                shown = "" if key in self.secrets or key not in self.own else f"={value}"
                self.faults.append(Fault(self.places.get(key, self.name), f"{key}{shown}", _sentence(error)))
        return None


_SENTENCES = {
    "bool_parsing": "must be true or false",
    "string_pattern_mismatch": "must be lower-case letters, digits and hyphens, beginning with a letter, at most 31",
}


def typed_value(setting: SettingDescriptor, text: str) -> Scalar:
    """Return a setting's value in its type. Raises ValueError with a sentence."""
    if setting.type == "flag":
        if text.lower() not in _FLAGS:
            raise ValueError("must be true or false")
        return _FLAGS[text.lower()]
    if setting.type == "number":
        if not (text.isascii() and text.isdigit() and int(text) >= setting.minimum):
            raise ValueError(f"must be a whole number from {setting.minimum} on")
        return int(text)
    if setting.type == "subnet":
        network = ip_network(text)  # its own sentence says what is wrong
        if network.num_addresses < _LEAST_ADDRESSES:
            raise ValueError(f"must hold at least {_LEAST_ADDRESSES} addresses (/29 or larger)")
        return str(network)
    if setting.pattern and text and not re.fullmatch(setting.pattern, text):
        raise ValueError(f"must be {setting.form or f'of the form {setting.pattern}'}")
    if setting.choices and text not in setting.choices:
        raise ValueError(f"must be one of {', '.join(setting.choices)}")
    return text


def _sentence(error: Any) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "literal_error":
            return "must be one of " + str(context["expected"]).replace("'", "").replace(" or ", ", ")
        case "value_error":
            return str(context["error"])
        case "int_parsing" | "int_type" | "greater_than_equal" | "less_than_equal":
            return _whole_number(str(error["loc"][0]))
        case "string_pattern_mismatch" if error["loc"][0] == "dns_ssh_name":
            return "must be one part of a name: lower-case letters, digits and hyphens"
        case kind:
            return _SENTENCES.get(kind, "has a value that does not fit")


def _whole_number(name: str) -> str:
    """Say which numbers a setting takes; a port's bounds are known of all ports, the others' are in their fields."""
    if "port" in name:
        return "must be a port, a whole number from 1 to 65535"
    bounds = Settings.model_fields[name].metadata
    low, high = (next(getattr(one, key) for one in bounds if hasattr(one, key)) for key in ("ge", "le"))
    return f"must be a whole number from {low} to {high}"


def _port_keys(descriptors: Iterable[ServiceDescriptor]) -> Iterator[tuple[str, str]]:
    for descriptor in descriptors:
        prefix = f"PORT_{_upper(descriptor.service)}"
        yield prefix, descriptor.service
        yield from ((f"{prefix}_{_upper(name)}", descriptor.service) for name in descriptor.ports)
        yield from ((port.setting, descriptor.service) for port in descriptor.ports.values() if port.setting)


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")
