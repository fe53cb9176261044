"""Which key goes with a call: read when it is needed, never kept, never shown."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from flyteplugins.codegen.core.errors import InvalidRequestError, MissingCredentialError
from flyteplugins.codegen.models.lazy_litellm import litellm

DUMMY_KEY: Final = "no-key-needed"
"""What a server gets that needs no key: litellm refuses to call some of them without one."""

_VARIABLE_NAME = re.compile(r"[A-Z_][A-Z0-9_]*\Z")
_SECRET_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)\Z", re.IGNORECASE)
_CREDENTIAL_PARAMETER = re.compile(r"(api_key|ad_token|auth_token|access_key|credentials)\Z")
_PROVIDER_KEY = re.compile(r"(API_KEY|API_TOKEN|AUTH_TOKEN)\Z")
_ADDRESS_VARIABLE = re.compile(r"(_BASE_URL|_API_BASE|_PROXY)\Z", re.IGNORECASE)
_SHORTEST_SECRET: Final = 6


class Credentials:
    """The key and the address of one provider.

    Args:
        model: Name of the model as litellm reads it.
        api_key_name: Name of the environment variable with the key; None for the provider's usual variables.
        api_base: Address of the endpoint; None for the provider's usual variables and then its own address.
        params: The parameters of each call; one of them may be a credential.
    """

    def __init__(self, model: str, api_key_name: str | None, api_base: str | None, params: Mapping[str, Any]) -> None:
        self._model = model
        self._api_key_name = api_key_name
        self._api_base = api_base
        self._params = params

    def key(self) -> str | None:
        """The key to pass with a call; None leaves it to the provider's usual variables.

        Raises:
            MissingCredentialError: A key that was named, or that the provider needs, is not there.
            InvalidRequestError: litellm knows no provider for the model.
        """
        if self._api_key_name is not None:
            return _named_key(self._api_key_name)
        if any(_CREDENTIAL_PARAMETER.search(name) for name in self._params):
            return None
        provider = self.provider()
        missing = litellm().validate_environment(model=self._model, api_base=self._api_base)["missing_keys"]
        wanted = [name for name in missing if _PROVIDER_KEY.search(name)]
        if not wanted:
            return None
        if self._api_base or self.base_variable(provider):
            return DUMMY_KEY
        raise MissingCredentialError(
            f"The model {self._model!r} needs an API key, and the environment variable {' or '.join(wanted)} is not "
            "set. Set it, name another variable with api_key=, or give the address of a server that needs no key with "
            "api_base=."
        )

    def base_variable(self, provider: str) -> str | None:
        """The environment variable that names the endpoint of a provider, where one is set."""
        prefix = provider.upper().removesuffix("_CHAT")  # `ollama_chat` is another way to talk to `ollama`
        names = (f"{prefix}_BASE_URL", f"{prefix}_API_BASE")
        return next((name for name in names if os.environ.get(name)), None)

    def where(self) -> str:
        """The endpoint, as messages call it."""
        if self._api_base:
            return _without_secrets(self._api_base)
        try:
            provider = self.provider()
        except InvalidRequestError:
            return "an unknown provider"
        variable = self.base_variable(provider)
        return f"{_without_secrets(os.environ[variable])} ({variable})" if variable else provider

    def key_setting(self) -> str:
        """The setting that the key comes from, as messages call it."""
        if self._api_key_name is not None:
            return f"the environment variable {self._api_key_name} (api_key)"
        return "the provider's environment variable, or api_key="

    def hide(self, text: str) -> str:
        """The text without any secret of this process's environment, of the parameters or of an address."""
        named = [os.environ.get(self._api_key_name or "", "")]
        environment = [value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)]
        given = [value for name, value in self._params.items() if _SECRET_VARIABLE.search(name)]
        headers = self._params.get("extra_headers")
        given += list(headers.values()) if isinstance(headers, Mapping) else []
        addresses = [self._api_base, *(value for name, value in os.environ.items() if _ADDRESS_VARIABLE.search(name))]
        given += [secret for address in addresses for secret in _secrets_of(str(address or ""))]
        secrets = {*named, *environment, *(value for value in given if isinstance(value, str))}
        # The longest first: one secret may be a part of another.
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _SHORTEST_SECRET:
                for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}:
                    text = text.replace(form, "[hidden]")
        return text

    def provider(self) -> str:
        """What litellm calls the provider of the model.

        Raises:
            InvalidRequestError: It knows none.
        """
        try:
            _, provider, _, _ = litellm().get_llm_provider(model=self._model, api_base=self._api_base)
        except Exception:
            # litellm raises its BadRequestError for names that it does not know.
            raise InvalidRequestError(
                f"litellm knows no provider for the model {self._model!r}. Write it as provider/model, such as "
                "'openai/gpt-4.1', 'anthropic/claude-sonnet-4-5' or 'ollama/qwen3'; for an OpenAI-compatible server: "
                "'openai/NAME' with api_base=."
            ) from None
        return str(provider)


def _without_secrets(address: str) -> str:
    """The address without a name and password in it, and without its query."""
    return re.sub(r"//[^/@]*@", "//", address).split("?", 1)[0]


def _secrets_of(address: str) -> list[str]:
    """What an address may hold that nobody should see: a password, and the values of its query."""
    try:
        parts = urlsplit(address)
        password = parts.password
    except ValueError:
        return []
    return [*([password, unquote(password)] if password else []), *(value for _, value in parse_qsl(parts.query))]


def _named_key(name: str) -> str:
    if not _VARIABLE_NAME.match(name):
        # Whatever this is, it may be the key itself: it is not shown.
        key = os.environ.get(name) if name.isidentifier() else None
        if not key:
            raise MissingCredentialError(
                "api_key is the name of an environment variable that holds the key, such as 'OPENAI_API_KEY', and no "
                "variable of the name that was given is set. Never pass the key itself."
            )
        return key
    key = os.environ.get(name)
    if not key:
        raise MissingCredentialError(
            f"api_key names the environment variable {name}, and it is {'empty' if name in os.environ else 'not set'}. "
            "Set it to the key, or name another one."
        )
    return key
