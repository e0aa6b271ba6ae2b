"""Who bills: names and hosts as they stand on real spans."""

from __future__ import annotations

import pytest

from spanledger.semconv import gen_ai
from spanledger.semconv.providers import BILLERS, biller, is_local, otel_name

NAMES = [
    # the conventions' values, current and deprecated
    ("openai", "openai"),
    ("azure.ai.openai", "azure_openai"),
    ("azure.ai.inference", "azure_openai"),
    ("az.ai.openai", "azure_openai"),
    ("az.ai.inference", "azure_openai"),
    ("anthropic", "anthropic"),
    ("aws.bedrock", "aws_bedrock"),
    ("gcp.gemini", "google"),
    ("gcp.gen_ai", "google"),
    ("gcp.vertex_ai", "google_vertex"),
    ("vertex_ai", "google_vertex"),
    ("gemini", "google"),
    ("cohere", "cohere"),
    ("deepseek", "deepseek"),
    ("groq", "groq"),
    ("mistral_ai", "mistral"),
    ("perplexity", "perplexity"),
    ("x_ai", "xai"),
    ("xai", "xai"),
    ("ibm.watsonx.ai", "ibm_watsonx"),
    ("moonshot_ai", "moonshot"),
    # what emitters write besides
    ("google", "google"),
    ("bedrock", "aws_bedrock"),
    ("aws", "aws_bedrock"),
    ("amazon-bedrock", "aws_bedrock"),
    ("azure", "azure_openai"),
    ("Azure OpenAI", "azure_openai"),
    ("Cohere", "cohere"),
    ("MistralAI", "mistral"),
    ("mistralai", "mistral"),
    ("OpenAI", "openai"),
    ("openai.chat", "openai"),
    ("openai.responses", "openai"),
    ("openai.embedding", "openai"),
    ("anthropic.messages", "anthropic"),
    ("google.generative-ai", "google"),
    ("google.vertex.chat", "google_vertex"),
    ("azure-openai.chat", "azure_openai"),
    ("togetherai.chat", "together"),
    ("openrouter", "openrouter"),
    ("github", "github"),
    ("google_vertexai", "google_vertex"),
    ("ollama", "self_hosted"),
    ("hosted_vllm", "self_hosted"),
    # frameworks do not bill
    ("langchain", ""),
    ("langgraph", ""),
    ("strands-agents", ""),
    ("microsoft.agent_framework", ""),
    ("litellm", ""),
    ("", ""),
    # nobody we know: kept, folded
    ("Acme LLM Cloud", "acme_llm_cloud"),
]


@pytest.mark.parametrize(("spoken", "word"), NAMES)
def test_a_name_gives_the_biller(spoken: str, word: str) -> None:
    assert biller(spoken) == word


HOSTS = [
    ("openai", "api.openai.com", "openai"),
    ("openai", "https://eu.api.openai.com/v1/", "openai"),
    ("openai", "lab-eu.openai.azure.com", "azure_openai"),
    ("openai", "https://lab-eu.openai.azure.com/openai/v1/", "azure_openai"),
    ("openai", "acme.cognitiveservices.azure.com", "azure_openai"),
    ("anthropic", "acme.services.ai.azure.com", "azure_openai"),
    ("openai", "acme.openai.azure.us", "azure_openai"),
    ("openai", "gw.azure-api.net", "azure_openai"),
    ("anthropic", "gw.azure-api.net", "anthropic"),
    ("openai", "api.x.ai", "xai"),
    ("openai", "https://api.groq.com/openai/v1/", "groq"),
    ("openai", "api.deepseek.com:443", "deepseek"),
    ("openai", "openrouter.ai", "openrouter"),
    ("openai", "api.together.xyz", "together"),
    ("openai", "api.fireworks.ai", "fireworks"),
    ("openai", "api.mistral.ai", "mistral"),
    ("openai", "api.perplexity.ai", "perplexity"),
    ("openai", "api.moonshot.cn", "moonshot"),
    ("openai", "dashscope.aliyuncs.com", "alibaba"),
    ("openai", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "alibaba"),
    ("openai", "notdashscope.aliyuncs.com", "openai"),
    ("openai", "cn.dashscope.aliyuncs.com", "alibaba"),
    ("openai", "router.huggingface.co/groq/openai/v1", "huggingface_groq"),
    ("openai", "https://router.huggingface.co/fireworks-ai/v1", "huggingface_fireworks_ai"),
    ("anthropic", "bedrock-runtime.us-east-1.amazonaws.com", "aws_bedrock"),
    ("anthropic", "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "aws_bedrock"),
    ("openai", "bedrock-mantle.us-east-1.api.aws", "aws_bedrock"),
    ("aws.bedrock", "vpce-0a1b-x.bedrock-runtime.eu-central-1.vpce.amazonaws.com", "aws_bedrock"),
    ("aws.bedrock", "aws.amazon.com", "aws_bedrock"),
    ("aws", "runtime.sagemaker.eu-west-1.amazonaws.com", "aws_sagemaker"),
    ("gemini", "us-central1-aiplatform.googleapis.com", "google_vertex"),
    ("anthropic", "aiplatform.googleapis.com", "google_vertex"),
    ("google", "aiplatform.us.rep.googleapis.com", "google_vertex"),
    ("vertex_ai", "generativelanguage.googleapis.com", "google"),
    ("openai", "https://generativelanguage.googleapis.com/v1beta/openai/", "google"),
    ("openai", "api.githubcopilot.com", "github"),
    ("openai", "models.inference.ai.azure.com", "github"),
    ("langchain", "api.anthropic.com", "anthropic"),
    # the user's own network
    ("openai", "localhost", "self_hosted"),
    ("openai", "http://127.0.0.1:11434/v1", "self_hosted"),
    ("openai", "[::1]:8000", "self_hosted"),
    ("openai", "10.1.2.3:8000", "self_hosted"),
    ("openai", "http://llm.internal:8000/v1/", "self_hosted"),
    ("openai", "vllm", "self_hosted"),
    ("", "vllm.models.svc.cluster.local", "self_hosted"),
    ("anthropic", "127.0.0.1", "anthropic"),
    ("aws.bedrock", "127.0.0.1", "aws_bedrock"),
    # a gateway with a public name says nothing
    ("openai", "llm.acme.com", "openai"),
    ("anthropic", "8.8.8.8", "anthropic"),
]


@pytest.mark.parametrize(("spoken", "address", "word"), HOSTS)
def test_the_host_decides_where_it_is_known(spoken: str, address: str, word: str) -> None:
    assert biller(spoken, address) == word


MODELS = [
    ("openai", "127.0.0.1", "gpt-4o-mini", "openai"),
    ("openai", "127.0.0.1", "claude-sonnet-4-5", "anthropic"),
    ("openai", "litellm.internal", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws_bedrock"),
    ("openai", "127.0.0.1", "Qwen/Qwen3-32B", "self_hosted"),
    ("openai", "127.0.0.1", "openai/gpt-oss-120b", "self_hosted"),
    ("openai", "127.0.0.1", "fast-chat", "self_hosted"),
    ("openai", "", "grok-4", "xai"),
    ("openai", "", "deepseek-chat", "deepseek"),
    ("openai", "", "gemini-2.5-flash", "google"),
    ("openai", "", "gpt-5-mini", "openai"),
    ("openai", "", "llama-3.3-70b-versatile", "openai"),
    ("anthropic", "", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws_bedrock"),
    ("anthropic", "", "claude-sonnet-4@20250514", "google_vertex"),
    ("anthropic", "", "claude-sonnet-4-5", "anthropic"),
    ("", "", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", "aws_bedrock"),
    ("", "", "gpt-5-mini", "openai"),
    ("groq", "", "openai/gpt-oss-120b", "groq"),
    ("openrouter", "", "anthropic/claude-sonnet-4.5", "openrouter"),
    ("azure.ai.openai", "", "gpt-4o", "azure_openai"),
    ("aws.bedrock", "", "claude-sonnet-4-5-20250929-v1:0", "aws_bedrock"),
    ("openai", "api.groq.com", "gpt-4o", "groq"),
]


@pytest.mark.parametrize(("spoken", "address", "model", "word"), MODELS)
def test_the_model_decides_where_the_host_says_nothing(spoken: str, address: str, model: str, word: str) -> None:
    assert biller(spoken, address, model) == word


def test_every_word_of_ours_is_understood_and_comes_back_from_the_spans_spelling() -> None:
    for entry in BILLERS:
        assert biller(entry.word) == entry.word
        assert biller(otel_name(entry.word)) == entry.word


def test_the_conventions_own_values_are_used_on_spans() -> None:
    known = {value for name, value in vars(gen_ai).items() if name.startswith("GEN_AI_PROVIDER_NAME_VALUE_")}
    ours = {otel_name(biller(value)) for value in known}
    assert ours == known - {"azure.ai.inference", "gcp.gen_ai"}  # one biller each with azure.ai.openai and gcp.gemini


def test_no_name_and_no_host_belongs_to_two_billers() -> None:
    names = [name for entry in BILLERS for name in entry.names]
    hosts = [host for entry in BILLERS for host in entry.hosts]
    assert len(names) == len(set(names))
    assert len(hosts) == len(set(hosts))
    assert not set(names) & {entry.word for entry in BILLERS}


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost", True),
        ("192.168.0.4:80", True),
        ("fd00::1", True),
        ("ollama", True),
        ("8.8.8.8", False),
        ("", False),
    ],
)
def test_local_addresses(address: str, local: bool) -> None:
    assert is_local(address) is local
