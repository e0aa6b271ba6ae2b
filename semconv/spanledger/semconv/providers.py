"""Who sends the invoice: from what spans say (``gen_ai.provider.name`` and its many spellings, the host) to one word.

Instrumentations name the wire format rather than the biller: every OpenAI-compatible host is ``openai`` to most of
them, and Claude through Bedrock is ``anthropic``. So the host, where it is known, decides; then the name; and the model
only where neither can (a loopback gateway, no address at all).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from spanledger.semconv import gen_ai

SELF_HOSTED: Final = "self_hosted"
"""Nobody sends an invoice per token: vLLM, Ollama and the like on the user's own machines."""


@dataclass(frozen=True, slots=True)
class Biller:
    """One sender of invoices.

    Attributes:
        word: the ledger's word for it.
        names: spellings seen on spans beside `word` and `otel`, as `_fold` writes them.
        hosts: ``api.example.com`` (exact), ``.example.com`` (any host below) of its API.
        otel: ``gen_ai.provider.name`` for it; `word` where the conventions have no value.
    """

    word: str
    names: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    otel: str = ""


BILLERS: Final = (
    Biller("openai", ("open_ai", "chatgpt", "codex", "openai_codex"), ("api.openai.com", ".api.openai.com")),
    Biller("anthropic", ("claude", "claude_code", "anthropic_ai"), ("api.anthropic.com", ".claude.ai")),
    Biller(
        "azure_openai",
        (
            "azure",
            "az",
            "azure_ai",
            "azureopenai",
            "az_ai_openai",
            "az_ai_inference",
            "azure_ai_inference",
            "azure_ai_foundry",
            "azure_foundry",
            "azure_cognitive_services",
            "microsoft_foundry",
            "foundry",
        ),
        (
            ".openai.azure.com",
            ".openai.azure.us",
            ".openai.azure.cn",
            ".cognitiveservices.azure.com",
            ".cognitiveservices.azure.us",
            ".api.cognitive.microsoft.com",
            ".services.ai.azure.com",
            ".models.ai.azure.com",
            ".inference.ai.azure.com",
            ".inference.ml.azure.com",
        ),
        gen_ai.GEN_AI_PROVIDER_NAME_VALUE_AZURE_AI_OPENAI,
    ),
    Biller(
        "aws_bedrock",
        ("aws", "bedrock", "amazon", "amazon_bedrock", "bedrock_converse", "bedrock_runtime", "anthropic_bedrock"),
        ("aws.amazon.com",),
        gen_ai.GEN_AI_PROVIDER_NAME_VALUE_AWS_BEDROCK,
    ),
    Biller("aws_sagemaker", ("sagemaker",), otel="aws.sagemaker"),
    Biller(
        "google",
        (
            "gemini",
            "gcp_gen_ai",
            "google_genai",
            "google_gen_ai",
            "google_gla",
            "google_ai",
            "google_ai_studio",
            "google_generative_ai",
            "google_generativeai",
            "gemini_cli",
        ),
        ("generativelanguage.googleapis.com", ".generativelanguage.googleapis.com"),
        gen_ai.GEN_AI_PROVIDER_NAME_VALUE_GCP_GEMINI,
    ),
    Biller(
        "google_vertex",
        (
            "vertex_ai",
            "vertexai",
            "vertex",
            "vertex_ai_beta",
            "google_vertexai",
            "google_vertex_ai",
            "gcp_vertex",
            "vertex_anthropic",
        ),
        ("aiplatform.googleapis.com",),
        gen_ai.GEN_AI_PROVIDER_NAME_VALUE_GCP_VERTEX_AI,
    ),
    Biller("xai", ("grok",), ("api.x.ai", ".api.x.ai"), gen_ai.GEN_AI_PROVIDER_NAME_VALUE_X_AI),
    Biller("cohere", ("cohere_chat", "cohere_ai"), ("api.cohere.com", "api.cohere.ai")),
    Biller(
        "mistral",
        ("mistralai", "codestral"),
        ("api.mistral.ai", ".api.mistral.ai", "codestral.mistral.ai"),
        gen_ai.GEN_AI_PROVIDER_NAME_VALUE_MISTRAL_AI,
    ),
    Biller("groq", ("groq_ai",), ("api.groq.com", ".api.groq.com")),
    Biller("deepseek", ("deepseek_ai", "deep_seek"), ("api.deepseek.com",)),
    Biller("perplexity", ("perplexity_ai", "pplx"), ("api.perplexity.ai",)),
    Biller("openrouter", ("open_router",), ("openrouter.ai", ".openrouter.ai")),
    Biller("together", ("together_ai", "togetherai", "togethercomputer"), ("api.together.xyz", "api.together.ai")),
    Biller("fireworks", ("fireworks_ai", "fireworksai"), ("api.fireworks.ai", ".api.fireworks.ai")),
    Biller(
        "moonshot",
        ("moonshot_ai", "moonshotai", "kimi"),
        ("api.moonshot.ai", "api.moonshot.cn"),
        "moonshot_ai",
    ),
    Biller("ibm_watsonx", ("watsonx", "ibm", "ibm_watsonx_ai"), (".ml.cloud.ibm.com",), "ibm.watsonx.ai"),
    Biller("cerebras", ("cerebras_ai",), ("api.cerebras.ai",)),
    Biller("cloudflare", ("workers_ai", "cloudflare_workers_ai"), ("api.cloudflare.com",)),
    Biller(
        "databricks",
        ("databricks_model_serving",),
        (".cloud.databricks.com", ".azuredatabricks.net", ".gcp.databricks.com"),
    ),
    Biller(
        "github",
        ("github_copilot", "copilot", "github_models"),
        ("api.githubcopilot.com", ".githubcopilot.com", "models.github.ai", "models.inference.ai.azure.com"),
    ),
    Biller("cursor", (), ("api.cursor.com", "api2.cursor.sh")),
    Biller("voyage", ("voyageai", "voyage_ai"), ("api.voyageai.com",)),
    Biller("elevenlabs", ("eleven_labs",), ("api.elevenlabs.io", ".elevenlabs.io")),
    Biller("minimax", ("minimaxi",), ("api.minimax.io", "api.minimaxi.com", "api.minimax.com")),
    Biller("zai", ("z_ai",), ("api.z.ai",)),
    Biller("zhipu", ("zhipuai", "bigmodel", "glm"), ("open.bigmodel.cn",)),
    Biller(
        "alibaba",
        ("dashscope", "qwen", "alibaba_cloud", "aliyun"),
        (
            "dashscope.aliyuncs.com",
            "dashscope-intl.aliyuncs.com",
            "dashscope-us.aliyuncs.com",
            ".dashscope.aliyuncs.com",
            ".maas.aliyuncs.com",
        ),
    ),
    Biller("volcengine", ("ark", "doubao", "byteplus"), (".volces.com", ".bytepluses.com")),
    Biller("novita", ("novita_ai",), ("api.novita.ai",)),
    Biller("nebius", ("nebius_ai",), ("api.studio.nebius.com", "api.studio.nebius.ai", "api.tokenfactory.nebius.com")),
    Biller("hyperbolic", (), ("api.hyperbolic.xyz",)),
    Biller("sambanova", ("samba_nova",), ("api.sambanova.ai",)),
    Biller("nscale", (), ("inference.api.nscale.com",)),
    Biller("deepinfra", ("deep_infra",), ("api.deepinfra.com",)),
    Biller("replicate", (), ("api.replicate.com",)),
    Biller("baseten", (), ("inference.baseten.co", ".api.baseten.co")),
    Biller("modal", (), (".modal.run", ".modal.direct")),
    Biller("ovhcloud", ("ovh",), (".endpoints.kepler.ai.cloud.ovh.net",)),
    Biller("scaleway", (), ("api.scaleway.ai",)),
    Biller("meta", ("meta_llama", "llama_api"), ("api.llama.com", "api.meta.ai")),
    Biller("nvidia", ("nvidia_nim", "nim"), ("integrate.api.nvidia.com",)),
    Biller("ai21", ("ai21_labs",), ("api.ai21.com",)),
    Biller("arcee", ("arcee_ai",), ("api.arcee.ai",)),
    Biller("avian", (), ("api.avian.io",)),
    Biller("doubleword", (), ("api.doubleword.ai",)),
    Biller("quicksilverpro", (), ("api.quicksilverpro.io",)),
    Biller("typesafe", (), ("api.typesafe.ai",)),
    Biller("venice", ("venice_ai",), ("api.venice.ai",)),
    Biller("siliconflow", (), ("api.siliconflow.cn", "api.siliconflow.com")),
    Biller("jina", ("jina_ai",), ("api.jina.ai", "deepsearch.jina.ai")),
    Biller("upstage", ("solar",), ("api.upstage.ai",)),
    Biller("writer", (), ("api.writer.com",)),
    Biller("snowflake", ("snowflake_cortex", "cortex"), (".snowflakecomputing.com",)),
    Biller("vercel", ("vercel_ai_gateway", "gateway"), ("ai-gateway.vercel.sh",)),
    Biller("ollama_cloud", (), ("ollama.com", ".ollama.com")),
    Biller("oracle", ("oci", "oci_genai", "oracle_cloud"), (".oci.oraclecloud.com",)),
    Biller(
        "huggingface",
        ("hugging_face", "hf", "huggingface_hub"),
        ("api-inference.huggingface.co", "router.huggingface.co"),
    ),
    Biller(
        SELF_HOSTED,
        (
            "vllm",
            "hosted_vllm",
            "ollama",
            "ollama_chat",
            "lm_studio",
            "lmstudio",
            "llama_cpp",
            "llamacpp",
            "llamafile",
            "localai",
            "local",
            "sglang",
            "tgi",
            "text_generation_inference",
            "tensorrt_llm",
            "triton",
            "xinference",
            "transformers",
            "mlx",
            "outlines",
            "self_hosted_vllm",
        ),
    ),
)

# Frameworks that stand in the provider attribute: they say nothing about who bills.
_FRAMEWORKS: Final = frozenset(
    [
        "langchain",
        "langgraph",
        "langsmith",
        "llamaindex",
        "llama_index",
        "litellm",
        "litellm_proxy",
        "strands",
        "strands_agents",
        "crewai",
        "autogen",
        "ag2",
        "agno",
        "haystack",
        "dspy",
        "instructor",
        "pydantic_ai",
        "semantic_kernel",
        "microsoft_agent_framework",
        "agent_framework",
        "microsoft",
        "openai_agents",
        "smolagents",
        "mcp",
        "traceloop",
        "openlit",
        "logfire",
        "ai_sdk",
        "vercel_ai",
        "custom",
        "other",
        "unknown",
        "none",
        "null",
        "_other",
    ]
)

# What the Vercel AI SDK appends to a provider: `openai.chat`, `anthropic.messages`, `google.generative-ai`.
_API_SUFFIXES: Final = frozenset(
    [
        "chat",
        "responses",
        "messages",
        "completion",
        "completions",
        "embedding",
        "embeddings",
        "textembedding",
        "image",
        "transcription",
        "speech",
        "text",
        "generative_ai",
        "language_model",
        "reranking",
    ]
)

# Host and path of routers that bill for others: `router.huggingface.co/groq/...`.
_HUGGINGFACE_ROUTES: Final = frozenset(
    [
        "cerebras",
        "fireworks-ai",
        "groq",
        "hyperbolic",
        "nebius",
        "novita",
        "nscale",
        "ovhcloud",
        "publicai",
        "sambanova",
        "together",
    ]
)

_BEDROCK_HOST: Final = re.compile(r"(?:^|[.-])bedrock(?:[.-]|$).*(?:\.amazonaws\.com(?:\.cn)?|\.api\.aws)$")
_SAGEMAKER_HOST: Final = re.compile(r"(?:^|\.)(?:runtime\.)?sagemaker\..*\.amazonaws\.com(?:\.cn)?$")
_VERTEX_HOST: Final = re.compile(r"(?:^|[.-])aiplatform\.(?:[a-z0-9.-]+\.)?(?:rep\.)?googleapis\.com$")
_LOCAL_SUFFIXES: Final = (
    ".local",
    ".internal",
    ".localhost",
    ".lan",
    ".svc",
    ".cluster.local",
    ".home.arpa",
    ".ts.net",
)

# Model names that only one biller sells, for spans whose host says nothing. Open weights are sold by everybody.
_BEDROCK_MODEL: Final = re.compile(
    r"arn:aws[a-z-]*:(?:bedrock|sagemaker):|(?:(?:us|us-gov|eu|apac|jp|au|ca|global)\.)?(?:anthropic|amazon|meta|cohere|mistral|ai21|"
    r"deepseek|stability|twelvelabs|writer|luma|qwen|openai|google|nvidia|moonshotai|moonshot|minimax|zai)\.[a-z0-9]"
)
_VERTEX_MODEL: Final = re.compile(r"claude-[a-z0-9.-]+@\d{8}$|publishers/|projects/[^/]+/locations/")
_PROPRIETARY: Final = (
    (
        re.compile(
            r"(?:openai/)?(?:ft:)?(?:gpt-(?!oss|j|neo)|chatgpt-|o[1-9](?:$|-)|text-embedding-(?:3|ada)|codex-|davinci|babbage|whisper-1|"
            r"tts-1|dall-e|sora|omni-moderation|computer-use-preview)"
        ),
        "openai",
    ),
    (re.compile(r"(?:anthropic/)?claude-"), "anthropic"),
    (re.compile(r"(?:xai/|x-ai/)?grok-"), "xai"),
    (re.compile(r"(?:deepseek/)?deepseek-(?:chat|reasoner)$"), "deepseek"),
    (re.compile(r"(?:gemini/|models/)?(?:gemini-|text-embedding-00|embedding-00|imagen-|veo-)"), "google"),
    (re.compile(r"(?:mistral/)?(?:mistral-(?:large|medium|embed)|codestral-|ministral-.*-latest)"), "mistral"),
    (re.compile(r"(?:cohere/)?(?:command-(?:a|r|light|nightly)|embed-(?:v4|english|multilingual)|rerank-)"), "cohere"),
    (re.compile(r"(?:perplexity/)?sonar(?:$|-)"), "perplexity"),
)


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _index_names() -> Mapping[str, str]:
    names: dict[str, str] = {}
    for biller_ in BILLERS:
        for name in (biller_.word, biller_.otel, *biller_.names):
            if name:
                names.setdefault(_fold(name), biller_.word)
    for route in _HUGGINGFACE_ROUTES:
        names[_fold(f"huggingface_{route}")] = _fold(f"huggingface_{route}")
    return MappingProxyType(names)


_NAMES: Final = _index_names()
_OTEL: Final[Mapping[str, str]] = MappingProxyType({b.word: b.otel for b in BILLERS if b.otel})
_HOSTS: Final[Mapping[str, str]] = MappingProxyType(
    {host: b.word for b in BILLERS for host in b.hosts if not host.startswith(".")}
)
_DOMAINS: Final = tuple((host, b.word) for b in BILLERS for host in b.hosts if host.startswith("."))


@lru_cache(maxsize=4096)
def biller(otel_provider: str, server_address: str = "", model: str = "") -> str:
    """The ledger's word for who bills a call.

    Args:
        otel_provider: ``gen_ai.provider.name``, ``gen_ai.system``, ``llm.provider`` or any other spelling.
        server_address: host, ``host:port`` or base URL of the API.
        model: request or response model. It decides only where the host does not: a Bedrock id under ``anthropic``, a
            vendor's own model behind a loopback gateway or under ``openai`` without any address.

    Returns:
        A word of `BILLERS`; the folded spelling itself for an unheard-of provider; ``""`` when nothing is known.
    """
    host, path = _split_address(server_address)
    by_host = _by_host(host, path) if host else ""
    if by_host:
        return by_host
    named = _by_name(otel_provider)
    local = bool(host) and _is_local(host)
    if host.endswith(".azure-api.net") and named in ("", "openai"):
        return "azure_openai"  # API Management in front of Azure's own models; it can front others, which are named
    by_model = _by_model(model.strip().lower(), named)
    if local and named in ("", "openai"):
        return by_model or SELF_HOSTED
    if by_model and (
        named in ("", "openai") or by_model == "aws_bedrock" or (named, by_model) == ("anthropic", "google_vertex")
    ):
        return by_model
    return named


def otel_name(provider: str) -> str:
    """``gen_ai.provider.name`` for a ledger's word (``azure_openai`` → ``azure.ai.openai``), or the word itself."""
    return _OTEL.get(provider, provider)


def is_local(server_address: str) -> bool:
    """Whether an address lies in the user's own network: loopback, private ranges, cluster and ``.internal`` names."""
    host, _ = _split_address(server_address)
    return bool(host) and _is_local(host)


def _by_name(name: str) -> str:
    folded = _fold(name)
    if folded in _NAMES:
        return _NAMES[folded]
    # `openai.chat`, `google.vertex.chat`, `amazon-bedrock.messages`
    parts = [_fold(part) for part in name.split(".")]
    while len(parts) > 1 and parts[-1] in _API_SUFFIXES:
        parts.pop()
        shorter = "_".join(parts)
        if shorter in _NAMES:
            return _NAMES[shorter]
    if folded in _FRAMEWORKS or "_".join(parts) in _FRAMEWORKS:
        return ""
    return folded


def _by_host(host: str, path: str) -> str:
    if host in _HOSTS:
        word = _HOSTS[host]
        if word == "huggingface":
            route = path.strip("/").split("/")[0].lower()
            return _fold(f"huggingface_{route}") if route in _HUGGINGFACE_ROUTES else word
        return word
    for domain, word in _DOMAINS:
        if host.endswith(domain):
            return word
    if _BEDROCK_HOST.search(host):
        return "aws_bedrock"
    if _SAGEMAKER_HOST.search(host):
        return "aws_sagemaker"
    if _VERTEX_HOST.search(host):
        return "google_vertex"
    return ""


def _by_model(model: str, named: str) -> str:
    if not model:
        return ""
    if _BEDROCK_MODEL.match(model):
        return "aws_bedrock"
    if _VERTEX_MODEL.match(model):
        return "google_vertex"
    for pattern, word in _PROPRIETARY:
        if pattern.match(model):
            return word
    return ""


def _split_address(address: str) -> tuple[str, str]:
    """Host (lower case, no port, no brackets) and path of a host, ``host:port`` or URL."""
    text = address.strip()
    if "://" in text:
        text = text.split("://", 1)[1]
    authority, slash, path = text.partition("/")
    authority = authority.rpartition("@")[2].lower()
    if authority.startswith("["):
        return authority[1:].partition("]")[0], slash + path
    if authority.count(":") == 1:
        authority = authority.partition(":")[0]
    return authority.rstrip("."), slash + path


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(_LOCAL_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "." not in host  # a bare name resolves only inside a compose network or cluster
    return address.is_private or address.is_loopback or address.is_link_local
