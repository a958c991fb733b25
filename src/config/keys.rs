//! Every key of the configuration: name, form, default, what it does and why the default is what it
//! is. The parser takes defaults, limits and suggestions from here, and docs/configuration.md is
//! written from here.

use super::choices::{AuthForm, Billing, Protocol, RetryAmbiguous};
use super::schema::Fallback::{self, Required, Toml, Unset};
use super::schema::{Form, Group, Key};

const fn key(name: &'static str, form: Form, default: Fallback, doc: &'static str) -> Key {
    Key { name, form, default, doc }
}

/// In the order of the documentation.
pub(super) const GROUPS: [&Group; 7] =
    [&ROOT, &CLUSTER, &HEALTH, &TIMEOUTS, &ENDPOINT, &SECRET, &CLIENT_TOKEN];

#[rustfmt::skip]
pub(super) static ROOT: Group = Group {
    header: "the top of the file",
    about: "",
    keys: &[key("clusters", Form::Table, Required, "The clusters, each a table of its own name.")],
};

#[rustfmt::skip]
pub(super) static CLUSTER: Group = Group {
    header: "[clusters.NAME]",
    about: "One cluster: an address for clients, and the endpoints behind it. A cluster's name is 1 \
            to 64 of `A-Z a-z 0-9 . _ -` and starts with a letter or a digit, since its control socket is \
            named after it.",
    keys: &[
        key("listen", Form::Address, Toml("\"127.0.0.1:7860\""),
            "Where clients connect: an IP address or `localhost`, and a port (0: any free one). Loopback by \
             default, since whoever reaches it spends the keys; any other address needs `client_tokens`."),
        key("client_tokens", Form::Secrets, Toml("[]"),
            "Tokens of which a client must present one, as `x-api-key` or Bearer; each in one of the forms under \
             [Secrets](#secrets), in a table also with a `name`. None by default: loopback lets in this machine's \
             users only."),
        key("allowed_hosts", Form::Hosts, Toml("[]"),
            "Names under which clients reach the proxy besides loopback's and the address of `listen`; a \
             request with another `Host` is refused, so that no web page can reach it under a name of its own. \
             A port is ignored."),
        key("queue_timeout", Form::DurationOrZero, Toml("\"10s\""),
            "How long a request waits for a usable endpoint before it gets the all-down answer. Covers a \
             restart of an endpoint, and is less than the 20 s after which Claude Code shows a warning. \
             `0s`: not at all."),
        key("drain_timeout", Form::DurationOrZero, Toml("\"30s\""),
            "How long running exchanges may go on after a stop; what is left is then aborted. Enough for \
             most answers, and less than systemd waits before it kills (90 s)."),
        key("max_body", Form::Size, Toml("\"64 MiB\""),
            "Largest body of a request, kept in memory until an endpoint has answered. Above what the \
             Messages API takes (32 MB), so that it is the endpoint that refuses."),
        key("max_bodies", Form::Size, Toml("\"512 MiB\""),
            "Most memory for the bodies of all requests under way, at least `max_body`. A request that finds no room \
             waits for `queue_timeout` at most and is then told to come back. Enough for a thousand usual requests, \
             or eight of the largest."),
        key("max_attempts", Form::Count { min: 1, max: 32 }, Toml("4"),
            "Most endpoints that one request is sent to. More would only prolong an outage that four \
             endpoints share."),
        key("commit_after", Form::DurationOrZero, Toml("\"5s\""),
            "How long the head of a stream is held back for the first content, so that a failure before it \
             can go to another endpoint unseen. Claude Code shows a warning after 20 s without a byte."),
        key("session_ttl", Form::DurationOrZero, Toml("\"5m\""),
            "How long a session that moved to another endpoint stays there after its last request, though its \
             own one is back: its prompt is cached there now, and a cold cache costs 12 to 50 times as much. \
             The vendors keep a prompt for 5 minutes after its last use. `0s`: it returns at once."),
        key("retry_ambiguous", Form::Choice(RetryAmbiguous::WORDS), Toml("\"per-token\""),
            "Whether a request that an endpoint may have worked on already goes to another one. By default \
             only where the first one charges by the token: where it charges by the request, it could be \
             paid twice."),
        key("admin_listen", Form::LoopbackAddress, Unset("none"),
            "Where status, metrics and the status page are served over TCP; loopback only, since it asks for \
             no token. None by default: the control socket serves the same."),
        key("ca_file", Form::Path, Unset("none"),
            "A file of certificates (PEM) that upstreams' certificates may be signed by, besides this \
             machine's own: for a company's or a test's. `~/` is the home directory; a relative path starts \
             at the configuration file's directory."),
        key("proxy", Form::ProxyUrl, Unset("none"),
            "An HTTP proxy that all endpoints of the cluster are reached through, `user:password@` before its \
             host where it asks for one. Only what stands here counts: `HTTP_PROXY` and the like are ignored."),
        key("health", Form::Table, Unset("its defaults"),
            "When an endpoint is taken out of service and comes back, below."),
        key("timeouts", Form::Table, Unset("its defaults"), "Limits of an exchange, below."),
        key("endpoints", Form::Tables, Required, "The endpoints, at least one, below."),
    ],
};

#[rustfmt::skip]
pub(super) static HEALTH: Group = Group {
    header: "[clusters.NAME.health]",
    about: "When an endpoint is taken out of service, and how it comes back.",
    keys: &[
        key("failure_threshold", Form::Count { min: 1, max: 15 }, Toml("3"),
            "Failures in a row that take an endpoint out of service (a refused connection counts as two, a \
             refused key decides alone). One failure is often chance, three are not."),
        key("success_threshold", Form::Count { min: 1, max: 7 }, Toml("1"),
            "Passed trials that bring it back. One suffices, since `slow_start` limits what a wrong one \
             does."),
        key("backoff_base", Form::Duration, Toml("\"5s\""),
            "Wait before the first trial; doubles with every failed one. Outlasts a restart of a server."),
        key("backoff_max", Form::Duration, Toml("\"5m\""),
            "Longest wait between trials; at least `backoff_base`. Nobody wants to wait longer for an \
             endpoint that is back."),
        key("auth_backoff_base", Form::Duration, Toml("\"1m\""),
            "Wait before the first trial after a refused key; doubles too. A key isn't mended in seconds."),
        key("auth_backoff_max", Form::Duration, Toml("\"30m\""),
            "Longest wait after a refused key; at least `auth_backoff_base`."),
        key("quota_backoff", Form::Duration, Toml("\"10m\""),
            "Wait after a used-up quota or budget that announces no end."),
        key("check_interval", Form::Duration, Toml("\"30s\""),
            "Between checks of a healthy endpoint that no traffic vouches for (only where billing is per \
             token). The check lists models, which costs nothing."),
        key("check_timeout", Form::Duration, Toml("\"10s\""),
            "Limit of one check. A small answer that takes longer is of no use to a person either."),
        key("check_model", Form::Text, Unset("the model of the endpoint's latest request, else a small one"),
            "The model that a chat check asks. By default one that is known to be served and paid for."),
        key("slow_start", Form::DurationOrZero, Toml("\"30s\""),
            "How long the share of new traffic of an endpoint that is back takes to rise from 10 % to 100 %, \
             so that a weak one isn't knocked over again. `0s`: at once."),
        key("ratio_window", Form::Duration, Toml("\"30s\""),
            "The time over which the share of failed requests is counted, in eighths of 100 ms at least. Failures \
             that alternate with successes never make a row; over half a minute they show."),
        key("ratio_min_samples", Form::Count { min: 1, max: 10_000 }, Toml("20"),
            "Fewest requests within `ratio_window` that the share is judged by. Of fewer, some bad luck makes \
             half."),
        key("ratio_threshold", Form::Fraction, Toml("0.5"),
            "The share of failed requests within `ratio_window` that takes an endpoint out of service. At half, \
             every second request is paid for twice."),
    ],
};

#[rustfmt::skip]
pub(super) static TIMEOUTS: Group = Group {
    header: "[clusters.NAME.timeouts]",
    about: "Limits of one exchange with an endpoint, and of a client's head.",
    keys: &[
        key("connect", Form::Duration, Toml("\"5s\""),
            "Connecting, name lookup and TLS included. Far above any round trip, and short enough to try \
             another endpoint."),
        key("first_byte", Form::Duration, Toml("\"2m\""),
            "From the sent request to the first content of a streamed answer. Large prompts take a minute to \
             read."),
        key("answer", Form::Duration, Toml("\"10m\""),
            "From the sent request to the head of an answer asked for whole. The limit that the vendors' own \
             clients use."),
        key("idle", Form::Duration, Toml("\"5m\""),
            "Between two bytes of a stream. Claude Code gives up after as long."),
        key("client_header", Form::Duration, Toml("\"30s\""),
            "For a client to send its request's head, so that silent connections don't pile up."),
    ],
};

#[rustfmt::skip]
pub(super) static ENDPOINT: Group = Group {
    header: "[[clusters.NAME.endpoints]]",
    about: "One endpoint: an address and a key. Its `id`, shown in the status, is the first 8 hex \
            digits of SHA-256 of `base_url|api_key`; two endpoints of a cluster can't have the same name or \
            the same id.",
    keys: &[
        key("name", Form::Name, Required,
            "What the endpoint is called in the status, in logs and in `x-qcc-endpoint`: 1 to 64 of `A-Z a-z \
             0-9 . _ -`, starting with a letter or a digit."),
        key("base_url", Form::Url, Required,
            "Scheme, host, maybe a port and a path, without `/v1`: the client's path (`/v1/…`) is appended."),
        key("api_key", Form::Secret, Required, "The key, in one of the forms under [Secrets](#secrets)."),
        key("protocol", Form::Choice(Protocol::WORDS), Toml("\"anthropic\""),
            "What it speaks; requests in the other protocol aren't sent to it. Anthropic by default, for \
             Claude Code."),
        key("billing", Form::Choice(Billing::WORDS), Toml("\"per-token\""),
            "What it charges for. `per-request`: no checks are sent, since each would be paid; the next \
             user's request is the trial. Most charge by the token."),
        key("priority", Form::Count { min: 1, max: 1_000_000 }, Toml("1"),
            "Endpoints of the lowest number are used first, the next ones when none of those is usable. \
             Equal by default: all share the traffic."),
        key("weight", Form::Count { min: 1, max: 1000 }, Toml("100"),
            "Share of the traffic among endpoints of one priority. 100, to leave room on both sides."),
        key("auth", Form::Choice(AuthForm::WORDS),
            Unset("`x-api-key` for api.anthropic.com, `bearer` for api.openai.com, else `both`"),
            "The headers that carry the key. Many relays take only one of the two, and none is known to mind \
             both."),
        key("models", Form::Globs, Unset("all"),
            "The models it serves, as patterns with `*` and `?`. All by default: an endpoint says itself \
             what it hasn't got."),
        key("model_map", Form::GlobMap, Unset("none"),
            "Names under which it knows models, by patterns for the names that clients use: `{ \"claude-opus-*\" = \
             \"relay/opus\" }`. The `model` of a request's body is replaced, the one change that is ever made to a \
             body; of several patterns the most particular one counts. None by default: bodies pass unchanged."),
        key("enabled", Form::Flag, Toml("true"),
            "`false` leaves it out of service without removing it from the file."),
    ],
};

const ENV: Key = key("env", Form::Text, Unset("none"), "An environment variable of the proxy's process.");
#[rustfmt::skip]
const FILE: Key = key("file", Form::Text, Unset("none"),
    "A file that only its owner can read (`chmod 600`). `~/` is the home directory; a relative path \
     starts at the configuration file's directory. Line breaks at the end are dropped.");
#[rustfmt::skip]
const COMMAND: Key = key("command", Form::Words, Unset("none"),
    "A program and its arguments, run without a shell, 10 s at most. The first line that it prints \
     is the secret.");
#[rustfmt::skip]
pub(super) const TOKEN_NAME: Key = key("name", Form::Name, Unset("`token-1`, `token-2`, … by its place in the list"),
    "Of a client's token only: what it is called in the status, in metrics and in logs. Requests are counted \
     under it, and go on being counted over a reload that keeps the name.");

pub(super) static SECRET: Group =
    Group { header: "a secret, as api_key = { … }", about: "", keys: &[ENV, FILE, COMMAND] };

pub(super) static CLIENT_TOKEN: Group = Group {
    header: "a client's token, as client_tokens = [{ … }]",
    about: "",
    keys: &[TOKEN_NAME, ENV, FILE, COMMAND],
};
